"""A training from end to end: read, fit, track, rank, and score the winner on the test rows."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Protocol

import pandas as pd
from sklearn.pipeline import Pipeline

from contract.settings import MetricName, Settings, without_password
from training.data import Dataset, read_test, read_training, split
from training.grid import fit_grids, plan
from training.metrics import Metrics, eval_metrics, loss
from training.params import Params
from training.tracking import Tracker


@dataclass(frozen=True)
class Entry:
    """A tracked combination."""

    run_id: str
    name: str
    family: str
    params: Params
    metrics: Metrics
    """On the validation rows."""
    fit_seconds: float


@dataclass(frozen=True)
class Result:
    """What a training came to."""

    tracking_uri: str
    experiment: str
    parent_run_id: str
    metric: MetricName
    leaderboard: Sequence[Entry]
    """Every combination, the best first."""
    test: Metrics | None
    """The winner's score on the test rows; None where the settings name no test table."""

    @property
    def winner(self) -> Entry:
        """The best on the validation rows."""
        return self.leaderboard[0]

    def as_json(self) -> Mapping[str, object]:
        """Return the result in plain types, for a program to read."""
        return {**asdict(self), "winner": asdict(self.winner)}


class Progress(Protocol):
    """Who wants to see a training go on."""

    def started(self, total: int, train_rows: int, val_rows: int, test_rows: int) -> None:
        """Hear how many combinations there are, and on how many rows."""

    def tracked(self, entry: Entry, best: Entry) -> None:
        """Hear of each combination once it is recorded, and of the best so far."""


def train(settings: Settings, progress: Progress) -> Result:
    """Train every combination, track each, and return them ranked.

    Raises:
        StackError: Before the first fit: a setting, a table or the tracking store is not usable.
            After it: the store failed; what was tracked until then stays.
    """
    grids = plan(settings)
    data = read_training(settings)
    test = read_test(settings, data)
    parts = split(data, settings)
    total = sum(len(grid.combinations) for grid in grids)
    tracker = Tracker(settings)
    metric = settings.training.metric
    entries: list[Entry] = []
    best: tuple[Entry, Pipeline] | None = None
    # Closed at an interrupt, before the run is ended: families may have work in other threads.
    fitted = closing(fit_grids(grids, parts, settings))
    with tracker.parent(parts, test) as parent_id, fitted as candidates:
        progress.started(total, len(parts.X_train), len(parts.X_val), len(test.X) if test else 0)
        for candidate in candidates:
            run_id = tracker.log_candidate(candidate, parent_id)
            name = candidate.grid.name
            facts = (candidate.name, name, candidate.params, candidate.metrics, candidate.seconds)
            entry = Entry(run_id, *facts)
            entries.append(entry)
            if best is None or _rank(entry, metric) < _rank(best[0], metric):
                best = entry, candidate.pipeline
            progress.tracked(entry, best[0])
        assert best is not None  # noqa: S101 - a planned grid is never empty
        score = _score(best[1], test) if test else None
        ranked = sorted(entries, key=lambda entry: _rank(entry, metric))
        tracker.log_result(parent_id, _table(ranked), best[0].run_id, score or {})
    uri, experiment = without_password(tracker.uri), tracker.experiment.name
    return Result(uri, experiment, parent_id, metric, ranked, score)


def _rank(entry: Entry, metric: MetricName) -> tuple[float, str]:
    """Order by the metric, the best first; equal ones by name, so that no order is by chance."""
    return loss(entry.metrics, metric), entry.name


def _score(winner: Pipeline, test: Dataset) -> Metrics:
    return eval_metrics(test.y, winner.predict(test.X))


def _table(ranked: Sequence[Entry]) -> pd.DataFrame:
    rows = [
        {
            "rank": rank,
            "combination": e.name,
            **e.metrics,
            "fit_seconds": e.fit_seconds,
            "run_id": e.run_id,
        }
        for rank, e in enumerate(ranked, start=1)
    ]
    return pd.DataFrame(rows)
