"""Tests of my3dis.cli."""
