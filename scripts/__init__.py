"""One module a command, thin: what the Makefile's targets call."""

import signal

# The commands have their own handlers once they run. Until then, while Python loads what they need,
# Ctrl-C ends the process at once and without a traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)
