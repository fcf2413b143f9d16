"""The streaming mask archive: one SQLite file per scan, one row per mask."""
