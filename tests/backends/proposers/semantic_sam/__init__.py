"""Tests of the Semantic-SAM back end; they need torch."""
