"""Spoilt input for every door, as much of it as there is time for."""
