"""What an encoder is trained for with labels: one more kind of objective."""
