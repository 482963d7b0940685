"""`d2v data inspect`: what is in a source."""
