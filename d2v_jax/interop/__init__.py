"""Other people's checkpoints, read without torch."""
