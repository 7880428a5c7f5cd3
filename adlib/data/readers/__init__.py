"""Readers: what lies on a disk, as `DataSplits`."""
