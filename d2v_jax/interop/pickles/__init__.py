"""The pickle inside a .pt, read without executing any of it."""
