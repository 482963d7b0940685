"""Lists of recordings: manifests, segments, trees of corpora, TFDS."""
