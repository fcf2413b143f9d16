"""Tests of my3dis.lifting."""
