"""data2vec's siblings as objectives: the same frontends, encoder, data, step and loop."""
