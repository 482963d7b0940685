"""HuBERT's targets: what sounds are made of, found by clustering their frames."""
