"""One modality in, tokens out."""
