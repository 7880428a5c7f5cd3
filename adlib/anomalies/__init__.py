"""Made anomalies: what PRN trains on beside normal images."""
