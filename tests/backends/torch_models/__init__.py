"""Tests of what the model back ends share; they import torch."""
