"""Tests of SAM 2's automatic masks; they import torch."""
