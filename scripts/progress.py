"""The progress of a training: a bar on a terminal, else one line per combination."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from scripts.console import progress_console

if TYPE_CHECKING:
    from training.result import LeaderboardEntry
    from training.result import Progress as TrainingProgress

logger = logging.getLogger(__name__)


@contextmanager
def show_progress(metric: str) -> Iterator["TrainingProgress"]:
    """Display the progress of a training on standard error."""
    if not sys.stderr.isatty():
        yield LineProgress(metric)
        return
    columns = (
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[best]}", markup=False),
        TextColumn("{task.description}", markup=False, style="dim"),
    )
    with Progress(*columns, console=progress_console(), transient=True) as progress:
        yield BarProgress(progress, metric)


class LineProgress:
    """One plain line per combination."""

    def __init__(self, metric: str) -> None:
        self._metric, self._done, self._total = metric, 0, 0

    def started(self, total: int, before: int, train: int, val: int, test: int) -> None:
        """Log the number of combinations and of rows."""
        self._total, self._done = total, before
        logger.info("%s", summarize(total, before, train, val, test))

    def tracked(self, entry: "LeaderboardEntry", best: "LeaderboardEntry") -> None:
        """Log a combination's metric, and the best one so far."""
        self._done += 1
        count = f"[{self._done:>{len(str(self._total))}}/{self._total}]"
        value, best_value = (
            format_metric(combination, self._metric) for combination in (entry, best)
        )
        values = f"{self._metric} {value}  best {best_value}"
        logger.info("%s %s  %s  %.2f s", count, entry.name, values, entry.fit_seconds)


class BarProgress:
    """A bar with the latest combination, the best so far and the remaining time."""

    def __init__(self, progress: Progress, metric: str) -> None:
        self._progress, self._metric = progress, metric
        self._task = progress.add_task("opening the tracking store", total=None, best="")

    def started(self, total: int, before: int, train: int, val: int, test: int) -> None:
        """Print the number of combinations and of rows, and set the length of the bar."""
        self._progress.console.print(summarize(total, before, train, val, test), markup=False)
        self._progress.update(self._task, total=total, completed=before, description="")

    def tracked(self, entry: "LeaderboardEntry", best: "LeaderboardEntry") -> None:
        """Advance the bar by one combination."""
        best_value = f"best {self._metric} {format_metric(best, self._metric)}"
        self._progress.update(self._task, advance=1, description=entry.name, best=best_value)


def summarize(total: int, before: int, train: int, val: int, test: int) -> str:
    """Return the number of combinations and of rows in one line."""
    tracked = f" ({before} of them tracked already)" if before else ""
    tested = f", {test} test rows for the winner" if test else ""
    rows = f"{train} training rows, {val} validation rows{tested}"
    return f"{total} combinations{tracked}: {rows}"


def format_metric(entry: "LeaderboardEntry", metric: str) -> str:
    """Return the value of a metric, formatted for people."""
    return f"{entry.metrics[metric]:,.6g}"
