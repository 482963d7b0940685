"""Checkpoints of the original code."""
