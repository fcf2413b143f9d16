"""Tests of progressive refinement."""
