"""Show what an endpoint runs, and start again what is gone: `make status`."""

import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from contract.settings import load
from scripts.console import main, say
from scripts.targets import choose
from scripts.targets.base import Status


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print the status as JSON.")] = False,
) -> None:
    """Show what runs, since when and where; start again what is gone, and say so.

    The exit code is 0 where the endpoint answers now, and 1 where it doesn't or nothing is
    deployed.
    """
    settings = load()
    say(f"Looking at {settings.serving.endpoint}")
    status = choose(settings, say).status()
    if as_json:
        print(json.dumps(status.as_json(), indent=2, default=datetime.isoformat))
    else:
        show(status)
    if not status.healthy:
        raise typer.Exit(1)


def show(status: Status) -> None:
    """Print the endpoint's table, and below it what was mended and what is broken."""
    if status.live:
        _print_table(status)
    elif not status.problems:
        print("Nothing is deployed; make deploy-endpoint does it")
    for line in status.mended:
        print(f"Mended: {line}")
    for line in status.problems:
        print(f"Broken: {line}")


def _print_table(status: Status) -> None:
    from rich import box  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(
        title=f"{status.endpoint} at {status.address}", box=box.SIMPLE_HEAD, title_justify="left"
    )
    for name in ("", "release", "sha256", "since", "runs as", "up", "answers"):
        table.add_column(name)
    for role, one in (("live", status.live), ("former", status.former)):
        if one:
            up = _duration(datetime.now(UTC) - one.started) if one.healthy else ""
            since = one.since.astimezone().strftime("%Y-%m-%d %H:%M:%S")
            answers = "yes" if one.healthy else "no"
            table.add_row(role, one.name, one.digest[:12], since, one.runs_as, up, answers)
    Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False).print(table)


def _duration(time: timedelta) -> str:
    minutes, seconds = divmod(int(time.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    shown = [f"{number} {unit}" for number, unit in parts if number][:2]
    return " ".join(shown) or "0 s"


if __name__ == "__main__":
    main(command)
