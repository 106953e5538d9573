"""Run a command: `python -m scripts train --json` runs `scripts/train.py`."""

import importlib.util
import runpy
import signal
import sys


def main() -> int:
    """Run the command that the first argument names, with the other arguments.

    Returns:
        The exit code, if there is no such command; a command exits by itself.
    """
    name = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    if not _exists(name):
        print(f"error: no command {name or 'given'}; make help lists the commands", file=sys.stderr)
        return 2
    # Ctrl-C while the command's modules are imported stops the process without a traceback. Once it
    # runs, the command has its own handlers (scripts/console.py).
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    runpy.run_module(f"scripts.{name}", run_name="__main__", alter_sys=True)
    return 0


def _exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(f"scripts.{name}") is not None
    except ModuleNotFoundError:  # of the package in front of the dot
        return False


if __name__ == "__main__":
    sys.exit(main())
