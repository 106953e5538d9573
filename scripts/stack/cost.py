"""What a stage costs a month: `make cost`."""

import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from contract.errors import InfraError
from contract.names import StackName, stack_name
from contract.paths import PROJECT_ROOT
from contract.settings.loader import Settings, load_settings
from contract.settings.stage import Stage
from scripts.aws.pricing import Line, Prices, price_later, price_template
from scripts.console import main

logger = logging.getLogger(__name__)

Egress = Literal["nat", "endpoints"]
EGRESS: tuple[Egress, ...] = ("endpoints", "nat")
SOMEBODY = "team@example.com"
"""Stands in for the address that production needs: what it is costs nothing."""


def command(
    as_json: Annotated[bool, typer.Option("--json", help="For a program to read.")] = False,
    each: Annotated[bool, typer.Option("--each", help="A row for each resource.")] = False,
) -> None:
    """List what costs money in each stage, with both kinds of egress side by side."""
    settings, prices = load_settings(), read_prices()
    logger.info("Writing the templates of each stage with either egress (ten seconds or more)")
    variants = [(name, egress) for name in settings.stages for egress in EGRESS]
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(2) as pool:
        bills = dict(
            zip(
                variants,
                pool.map(lambda one: _bill(settings, one, Path(scratch), prices), variants),
                strict=True,
            )
        )
    if as_json:
        print(
            json.dumps({f"{name} {egress}": _plain(bill) for (name, egress), bill in bills.items()})
        )
        return
    for name in settings.stages:
        _show(name, {egress: bills[name, egress] for egress in EGRESS}, prices, each=each)
    _compare(bills, prices)


def read_prices() -> Prices:
    """Return the prices of the file that STACK_PRICES names, by default the project's."""
    return Prices(
        Path(os.environ.get("STACK_PRICES") or PROJECT_ROOT / "scripts" / "aws" / "prices.toml")
    )


def monthly_cost(stage: Stage, folder: Path) -> float:
    """Return what the templates of a folder cost a month, in US dollars."""
    return sum(line.monthly for line in _lines(stage, folder, read_prices()))


Bill = dict[str, list[Line]]
"""What is provisioned, and what comes on top of it later."""


def _bill(settings: Settings, variant: tuple[str, Egress], scratch: Path, prices: Prices) -> Bill:
    name, egress = variant
    own = settings.stages[name]
    email = own.get("alarm_email") or settings.infra.get("alarm_email") or SOMEBODY
    prefix = f"STACK_STAGES__{name.upper()}__"
    folder = scratch / f"{name}-{egress}"
    done = subprocess.run(
        [sys.executable, "-m", "infra"],
        cwd=PROJECT_ROOT,
        env={
            **os.environ,
            "STACK_STAGE": name,
            f"{prefix}EGRESS": egress,
            f"{prefix}ALARM_EMAIL": email,
            "CDK_OUTDIR": str(folder),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason"])[-1]
        raise InfraError(f"{name} with {egress}: {reason.removeprefix('error: ')}")
    whole = {**settings.stages, name: {**own, "egress": egress, "alarm_email": email}}
    stage = settings.model_copy(update={"stages": whole}).get_stage(name)
    return {
        "provisioned": _lines(stage, folder, prices),
        "later": price_later(stage, prices),
    }


def _lines(stage: Stage, folder: Path, prices: Prices) -> list[Line]:
    return [
        line
        for part in StackName
        for line in price_template(
            json.loads((folder / f"{stack_name(stage, part)}.template.json").read_text()),
            stage,
            prices,
        )
    ]


def _plain(bill: Bill) -> dict[str, object]:
    return {
        kind: {
            "usd_a_month": round(sum(line.monthly for line in lines), 2),
            "lines": [vars(line) | {"monthly": line.monthly} for line in lines],
        }
        for kind, lines in bill.items()
    }


def _show(name: str, bills: Mapping[str, Bill], prices: Prices, *, each: bool) -> None:
    """One row a kind of thing, or a row for each."""
    table = Table(title=f"Stage {name}, US dollars a month ({prices.about})", title_justify="left")
    table.add_column("")
    table.add_column("unit price", justify="right")
    for egress in bills:
        table.add_column(f"{egress}: quantity", justify="right")
        table.add_column("USD", justify="right")
    table.add_column("assumed")
    for kind, word in (("provisioned", "Together"), ("later", "Together, on top of it")):
        rows = {_row(line, each): line for bill in bills.values() for line in bill[kind]}
        for row, line in rows.items():
            cells = [
                cell
                for bill in bills.values()
                for cell in _cells([one for one in bill[kind] if _row(one, each) == row])
            ]
            table.add_row(row, f"{line.unit_price:g}", *cells, line.assumption)
        sums = [
            cell
            for bill in bills.values()
            for cell in ("", f"{sum(line.monthly for line in bill[kind]):,.2f}")
        ]
        table.add_row(word, "", *sums, "", style="bold", end_section=True)
    Console(width=max(Console().width, 120)).print(table)


def _compare(bills: Mapping[tuple[str, Egress], Bill], prices: Prices) -> None:
    """Put stages and kinds of egress side by side: what each kind of thing costs in them."""
    title = f"All side by side, US dollars a month ({prices.about})"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name, egress in bills:
        table.add_column(f"{name}, {egress}", justify="right")
    for kind, word in (("provisioned", "Together"), ("later", "Together, on top of it")):
        for what in dict.fromkeys(line.what for bill in bills.values() for line in bill[kind]):
            sums = [
                sum(line.monthly for line in bill[kind] if line.what == what)
                for bill in bills.values()
            ]
            table.add_row(what, *(f"{one:,.2f}" if one else "" for one in sums))
        whole = [sum(line.monthly for line in bill[kind]) for bill in bills.values()]
        table.add_row(word, *(f"{one:,.2f}" for one in whole), style="bold", end_section=True)
    Console(width=max(Console().width, 120)).print(table)


def _row(line: Line, each: bool) -> str:
    return f"{line.what}: {line.name}" if each and line.name else line.what


def _cells(lines: list[Line]) -> tuple[str, str]:
    if not lines:
        return "", ""
    quantity = sum(line.quantity for line in lines)
    return f"{quantity:,.0f} {lines[0].unit}", f"{sum(line.monthly for line in lines):,.2f}"


if __name__ == "__main__":
    main(command)
