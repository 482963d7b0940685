"""The `d2v` command, one file per family of sub-commands."""
