"""One module a command, thin: what the Makefile's targets call."""
