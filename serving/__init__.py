"""The server: a release behind HTTP. Bytes to a table, a table to predictions, and back."""
