"""The door: what a recipe says, checked once."""
