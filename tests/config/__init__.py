"""Tests of my3dis.config."""
