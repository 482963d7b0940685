"""What frozen features are good for: nearest neighbours and linear maps."""
