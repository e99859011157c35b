"""Vid4, for space-time super-resolution."""
