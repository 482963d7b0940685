"""How fast, how much memory, where the time goes. Imported by the command line alone."""
