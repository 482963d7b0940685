"""Recordings in, crops out."""
