"""Put a release behind the endpoint: `make deploy-endpoint`."""

import json
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import typer

from contract.settings import load
from scripts.console import main, say
from scripts.targets import choose
from scripts.targets.base import Move


class Engine(StrEnum):
    """What a deployment runs as on this machine."""

    process = "process"
    container = "container"


def command(
    version: Annotated[str, typer.Option(help="Of the release; by default the champion.")] = "",
    model: Annotated[str, typer.Option(help="runs:/... or models:/...: release it first.")] = "",
    engine: Annotated[
        Engine | None, typer.Option(help="By default as what is live, else a process.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Deploy a release beside the live one, check it, move the traffic, and keep the former."""
    settings = load()
    what = model or (f"version {version}" if version else "the champion")
    say(f"Deploying {what} of {settings.release.model} to {settings.serving.endpoint}")
    done = choose(settings, say, engine.value if engine else None).deploy(
        version or None, model or None
    )
    show(done, as_json)


def show(done: Move, as_json: bool) -> None:
    """Print what is live now, and what is kept."""
    if as_json:
        print(json.dumps(done.as_json(), indent=2, default=datetime.isoformat))
        return
    state = "Live" if done.changed else "Live already"
    print(f"{state}: {done.live.name} (sha256 {done.live.digest[:12]}, {done.live.runs_as})")
    print(f"At {done.address}")
    if done.former:
        print(f"Former: {done.former.name}, kept for make rollback")


if __name__ == "__main__":
    main(command)
