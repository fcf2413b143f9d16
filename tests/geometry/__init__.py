"""Tests of my3dis.geometry."""
