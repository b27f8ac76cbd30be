"""Which models there are; no torch."""
