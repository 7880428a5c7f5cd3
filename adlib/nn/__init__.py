"""Parts that several methods share: frozen encoders, attention, the optimiser."""
