"""End what the project started: `make teardown`."""

from contract.settings import load
from scripts.console import main, say
from scripts.targets import choose
from scripts.ui_process import UiProcess


def command() -> None:
    """End the endpoints and all that serves them; what was trained and released stays."""
    settings = load()
    say("Taking the endpoints down")
    removed = [*choose(settings, say).teardown()]
    if UiProcess(settings).stop():
        removed.append("the UI")
    print(f"Removed: {', '.join(removed)}" if removed else "There was nothing to remove")


if __name__ == "__main__":
    main(command)
