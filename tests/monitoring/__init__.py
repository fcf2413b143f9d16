"""Tests of my3dis.monitoring."""
