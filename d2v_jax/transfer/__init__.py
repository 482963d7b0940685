"""What the representation is for: features and probes."""
