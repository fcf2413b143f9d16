"""Tests of my3dis.exporters."""
