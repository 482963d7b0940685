"""Tokens of a text as others store them: byte-level BPE and WordPiece."""
