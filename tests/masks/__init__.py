"""Tests of mask arithmetic."""
