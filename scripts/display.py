"""Human-readable results on standard output."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from scripts.console import table_console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from endpoints.smoke_test import SmokeTestReport
    from endpoints.target import Deployment, DeploymentResult, Status, TrainingJob
    from training.metrics import Metrics
    from training.result import TrainingResult

LEADERBOARD_ROWS = 10
"""Combinations of a leaderboard that are printed."""


def print_leaderboard(result: "TrainingResult", ui_command: str = "make ui") -> None:
    """Print the best combinations, the winner and its metrics on the test rows.

    Args:
        result: The training's result.
        ui_command: What opens the MLflow UI.
    """
    from rich.text import Text  # noqa: PLC0415 - after the first line

    entries = result.leaderboard
    table = _table(
        f"Best {min(LEADERBOARD_ROWS, len(entries))} of {len(entries)} on the validation rows"
    )
    table.add_column("", justify="right")
    table.add_column("combination")
    for name in ("RMSE", "MAPE", "R2"):
        table.add_column(name, justify="right")
    for rank, entry in enumerate(entries[:LEADERBOARD_ROWS], start=1):
        table.add_row(str(rank), Text(entry.name), *format_metrics(entry.metrics))
    console = table_console()
    console.print(table)
    console.print(f"Winner: {result.winner.name} (run {result.winner.run_id})")
    if result.test_metrics:
        rmse, mape, r2 = format_metrics(result.test_metrics)
        console.print(f"On the test rows: RMSE {rmse}, MAPE {mape}, R2 {r2}")
    else:
        console.print("Not scored on test rows: the settings name no test table")
    console.print(f"Tracked in experiment {result.experiment}; show it with: {ui_command}")


def print_deployment(result: "DeploymentResult") -> None:
    """Print the live release and the one that a rollback restores."""
    state = "Live" if result.changed else "Already live"
    live = result.live
    print(f"{state}: {live.name} (sha256 {live.digest[:12]}, {live.compute})")
    print(f"URL: {result.url}")
    if result.previous:
        print(f"Previous: {result.previous.name}, kept for make rollback")


def print_status(status: "Status") -> None:
    """Print the endpoint's deployments, then the repairs and the remaining problems."""
    if status.live:
        _print_deployments(status)
    elif not status.problems:
        print("Nothing is deployed; run make deploy-endpoint")
    for line in status.repaired:
        print(f"Repaired: {line}")
    for line in status.problems:
        print(f"Broken: {line}")


def print_training_jobs(jobs: "Sequence[TrainingJob]") -> None:
    """Print training jobs, the newest first."""
    if not jobs:
        print("No training jobs; run make train TARGET=aws")
        return
    table = _table("Training jobs")
    table.add_column("job", no_wrap=True, overflow="ignore")  # to be copied
    for name in ("status", "started", "duration", "compute", "cost", ""):
        table.add_column(name)
    for job in jobs:
        end = job.ended_at or datetime.now(UTC)
        table.add_row(
            job.name,
            job.status,
            job.started_at.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
            _format_duration(end - job.started_at),
            job.compute,
            "" if job.cost_usd is None else f"{job.cost_usd:.2f} USD",
            job.step,
        )
    table_console(min_width=140).print(table)


def print_smoke_test(report: "SmokeTestReport") -> None:
    """Print each row's prediction, its true value, and their difference."""
    table = _table(f"{report.release} (sha256 {report.digest[:12]}) on {report.source}")
    table.add_column("row")
    for name in ("prediction", "true value", "difference"):
        table.add_column(name, justify="right")
    for row in report.rows:
        difference = f"{row.prediction / row.label - 1:+.1%}" if row.label else ""
        label = "" if row.label is None else f"{row.label:,.6g}"
        table.add_row(row.name, f"{row.prediction:,.6g}", label, difference)
    console = table_console()
    console.print(table)
    if report.rmse is not None:
        console.print(f"RMSE of these rows: {report.rmse:,.6g} (limit {report.rmse_limit:,.6g})")
    else:
        console.print("These rows have no labels: the error over them was not checked")


def format_metrics(metrics: "Metrics") -> tuple[str, str, str]:
    """Return RMSE, MAPE and R2, formatted for people."""
    return f"{metrics['RMSE']:,.6g}", f"{metrics['MAPE']:.2%}", f"{metrics['R2']:.4f}"


def _print_deployments(status: "Status") -> None:
    table = _table(f"{status.endpoint} at {status.url}")
    for name in ("", "release", "sha256", "live since", "compute", "uptime", "healthy"):
        table.add_column(name)
    for state, deployment in (("live", status.live), ("previous", status.previous)):
        if deployment:
            table.add_row(state, *_deployment_cells(deployment))
    table_console().print(table)


def _deployment_cells(deployment: "Deployment") -> tuple[str, ...]:
    healthy = deployment.healthy
    return (
        deployment.name,
        deployment.digest[:12],
        deployment.live_since.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
        deployment.compute,
        _format_duration(datetime.now(UTC) - deployment.started_at) if healthy else "",
        "yes" if healthy else "no",
    )


def _table(title: str) -> "Table":
    from rich import box  # noqa: PLC0415 - after the first line
    from rich.table import Table  # noqa: PLC0415

    return Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")


def _format_duration(duration: timedelta) -> str:
    """Return a duration in its two largest units, such as `3 d 4 h`."""
    minutes, seconds = divmod(int(duration.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    largest = [f"{number} {unit}" for number, unit in parts if number][:2]
    return " ".join(largest) or "0 s"
