"""Frontend, positions, prenet, trunk; masks and views: what every objective trains."""
