"""Train every combination of the grids and show the winner: `make train`."""

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from contract.settings import load
from scripts.console import main, say
from training.worker import Worker

if TYPE_CHECKING:
    from training.metrics import Metrics
    from training.train import Result


def command(
    families: Annotated[str, typer.Option(help="Only these, separated by commas.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Train anew what is tracked.")] = False,
) -> None:
    """Train every combination of the grids, track each in MLflow, and show the winner."""
    settings = load()
    if families:
        chosen = settings.training.model_copy(update={"families": tuple(families.split(","))})
        settings = settings.model_copy(update={"training": chosen})
    names = ", ".join(settings.training.families)
    say(f"Training {names} on {settings.data.train}; tracked in {settings.store_name}")

    with Worker() as worker:
        # The libraries take seconds to load: only now, after the first line, and while the worker
        # loads its own.
        from scripts.progress import watch  # noqa: PLC0415
        from training.train import train  # noqa: PLC0415

        with watch(settings.training.metric) as progress:
            result = train(settings, progress, worker, anew=force)
    if result.tracked_before == len(result.leaderboard):
        run = result.parent_run_id
        say(f"Trained before on the same data, code and settings (run {run}); FORCE=1 trains anew")
    if as_json:
        json.dump(result.as_json(), sys.stdout, indent=2)
        print()
    else:
        show(result)


def show(result: "Result") -> None:
    """Print the top ten, the winner and its test score."""
    from rich import box  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    entries = result.leaderboard
    title = f"The best {min(10, len(entries))} of {len(entries)} on the validation rows"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("", justify="right")
    table.add_column("combination")
    for name in ("RMSE", "MAPE", "R2"):
        table.add_column(name, justify="right")
    for rank, entry in enumerate(entries[:10], start=1):
        table.add_row(str(rank), Text(entry.name), *figures(entry.metrics))
    console = Console(
        width=None if sys.stdout.isatty() else 110, highlight=False, markup=False, soft_wrap=True
    )
    console.print(table)
    console.print(f"Winner: {result.winner.name} (run {result.winner.run_id})")
    if result.test:
        rmse, mape, r2 = figures(result.test)
        console.print(f"On the test rows: RMSE {rmse}, MAPE {mape}, R2 {r2}")
    else:
        console.print("Not scored on test rows: the settings name no test table")
    console.print(f"Tracked in experiment {result.experiment}; see it with: make ui")


def figures(metrics: "Metrics") -> tuple[str, str, str]:
    """Write the three figures as a person reads them."""
    return f"{metrics['RMSE']:,.6g}", f"{metrics['MAPE']:.2%}", f"{metrics['R2']:.4f}"


if __name__ == "__main__":
    main(command)
