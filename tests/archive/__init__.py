"""Tests of the mask archive."""
