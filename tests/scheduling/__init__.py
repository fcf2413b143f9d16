"""Tests of planning, leasing, running and retrying the jobs of a sweep."""
