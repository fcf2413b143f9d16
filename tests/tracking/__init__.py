"""Tests of identities, their evidence and their relations."""
