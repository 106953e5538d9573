"""Data preparation: reading tables, splitting them, and fitting the features."""
