"""Our way of cutting examples and a plain loop, on the same records: `d2v data bench`."""
