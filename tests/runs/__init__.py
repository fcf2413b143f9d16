"""Tests of my3dis.runs."""
