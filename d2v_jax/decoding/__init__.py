"""From outputs over time to words: vocabularies, greedy and beam search, n-gram models; NumPy."""
