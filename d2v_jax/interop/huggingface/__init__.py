"""Checkpoints for transformers."""
