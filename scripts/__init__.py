"""The commands: one thin module per command, run as `python -m scripts train` by the Makefile."""
