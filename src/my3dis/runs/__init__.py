"""A run on disk: its files, manifest, provenance and events."""
