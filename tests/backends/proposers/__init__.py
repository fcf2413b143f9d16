"""Tests of the sources of candidate masks."""
