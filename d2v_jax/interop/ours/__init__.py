"""Our own single file of weights."""
