"""Tests of the scan readers and of the synthetic rooms."""
