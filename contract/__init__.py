"""What the rooms agree on: the settings and the error tree."""
