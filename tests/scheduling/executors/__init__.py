"""Tests of where jobs run."""
