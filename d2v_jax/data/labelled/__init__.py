"""Examples with labels, for probes."""
