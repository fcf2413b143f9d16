"""Tests of the readers of the earlier system's files."""
