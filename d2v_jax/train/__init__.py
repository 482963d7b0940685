"""The engine: state, step, devices, checkpoints. Blind to modality."""
