"""Readers: what lies on a disk, as `Data`."""
