"""Tests of my3dis.serving."""
