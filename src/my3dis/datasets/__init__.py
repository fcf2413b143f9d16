"""Readers of scans, one module per layout on disk."""
