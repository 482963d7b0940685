"""Documents in, rows of ids out."""
