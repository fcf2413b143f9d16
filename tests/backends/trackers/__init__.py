"""Tests of the ways of carrying masks."""
