"""What people read of a run: numbers, warnings, hours, trees."""
