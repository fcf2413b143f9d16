"""Tests of tracking with video models; they need torch and transformers."""
