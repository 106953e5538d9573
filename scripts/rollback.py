"""Make the former release live again: `make rollback`."""

from typing import Annotated

import typer

from contract.settings import load
from scripts.console import main, say
from scripts.deploy_endpoint import show
from scripts.targets import choose


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Make the former release live again, and the live one the former."""
    settings = load()
    say(f"Rolling {settings.serving.endpoint} back")
    show(choose(settings, say).rollback(), as_json)


if __name__ == "__main__":
    main(command)
