"""Host side: files become batches. NumPy and Grain only."""
