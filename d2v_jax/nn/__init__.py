"""Modules that know widths and heads and have never heard of data2vec."""
