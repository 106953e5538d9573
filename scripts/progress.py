"""The progress of a training: a bar on a terminal, else one line per combination."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from training.result import LeaderboardEntry
    from training.result import Progress as TrainingProgress

logger = logging.getLogger(__name__)


@contextmanager
def show_progress(metric: str) -> Iterator["TrainingProgress"]:
    """Yield what shows a training's progress on standard error."""
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
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield BarProgress(progress, metric)


class LineProgress:
    """One plain line a combination."""

    def __init__(self, metric: str) -> None:
        self._metric, self._done, self._total = metric, 0, 0

    def started(self, total: int, before: int, train: int, val: int, test: int) -> None:
        """Say what is about to be done."""
        self._total, self._done = total, before
        logger.info(summary(total, before, train, val, test))

    def tracked(self, entry: "LeaderboardEntry", best: "LeaderboardEntry") -> None:
        """Say what came of a combination."""
        self._done += 1
        value, top = (value_of(one, self._metric) for one in (entry, best))
        count = f"[{self._done:>{len(str(self._total))}}/{self._total}]"
        took = f"{entry.fit_seconds:.2f} s"
        logger.info(f"{count} {entry.name}  {self._metric} {value}  best {top}  {took}")


class BarProgress:
    """A bar with the latest combination, the best so far and the time left."""

    def __init__(self, progress: Progress, metric: str) -> None:
        self._progress, self._metric = progress, metric
        self._task = progress.add_task("opening the tracking store", total=None, best="")

    def started(self, total: int, before: int, train: int, val: int, test: int) -> None:
        """Say what is about to be done, and give the bar its length."""
        self._progress.console.print(summary(total, before, train, val, test), markup=False)
        self._progress.update(self._task, total=total, completed=before, description="")

    def tracked(self, entry: "LeaderboardEntry", best: "LeaderboardEntry") -> None:
        """Move on by one."""
        top = f"best {self._metric} {value_of(best, self._metric)}"
        self._progress.update(self._task, advance=1, description=entry.name, best=top)


def summary(total: int, before: int, train: int, val: int, test: int) -> str:
    """Say how much there is to do, and on how many rows."""
    scored = f", the winner scored on {test}" if test else ""
    known = f" ({before} of them tracked before)" if before else ""
    return f"{total} combinations{known}: trained on {train} rows, compared on {val}{scored}"


def value_of(entry: "LeaderboardEntry", metric: str) -> str:
    """Write the metric's value as a person reads it."""
    return f"{entry.metrics[metric]:,.6g}"
