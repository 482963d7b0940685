"""data2vec's siblings on the same encoder: each a file or small folder, as its paper's abstract."""
