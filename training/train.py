"""A training from end to end: read, fit, track, rank, and score the winner on the test rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol

import pandas as pd

from contract.settings import Settings, without_password
from contract.tables import MetricName
from training.data import Dataset, Split, read_test, read_training, split
from training.grid import Candidate, FamilyGrid, plan, prepare
from training.metrics import Metrics, eval_metrics, loss
from training.params import Params
from training.worker import Worker

if TYPE_CHECKING:
    from training.tracking import Former, Tracker


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
    tracked_before: int
    """How many of the combinations were found tracked, by a training of the same."""

    @property
    def winner(self) -> Entry:
        """The best on the validation rows."""
        return self.leaderboard[0]

    def as_json(self) -> Mapping[str, object]:
        """Return the result in plain types, for a program to read."""
        return {**asdict(self), "winner": asdict(self.winner)}


class Progress(Protocol):
    """Who wants to see a training go on."""

    def started(self, total: int, before: int, train: int, val: int, test: int) -> None:
        """Hear how many combinations there are, how many tracked before, and on how many rows."""

    def tracked(self, entry: Entry, best: Entry) -> None:
        """Hear of each combination once it is recorded, and of the best so far."""


def train(settings: Settings, progress: Progress, worker: Worker, anew: bool = False) -> Result:
    """Train every combination that isn't tracked yet, track each, and return all of them ranked.

    Where a training on the same data, code and settings was cut off, it goes on in its run; where
    one is finished, it is the answer.

    Args:
        settings: What to train on what.
        progress: Who is told of each combination.
        worker: The process that fits. Started early, it has its libraries loaded by now.
        anew: Whether to train everything, whatever is tracked.

    Raises:
        StackError: A setting or a table is not usable, the tracking store isn't or fails, or the
            worker died; what was tracked until then stays.
    """
    grids = plan(settings)
    data = read_training(settings)
    test = read_test(settings, data)
    parts = split(data, settings)
    rows = prepare(parts, settings)

    total = sum(len(grid.combinations) for grid in grids)
    # MLflow takes seconds to load and to open: in the meantime the first ones are fitted.
    scored = worker.fit(grids, rows, settings.data.seed)
    from training.identity import fingerprint  # noqa: PLC0415
    from training.tracking import Tracker  # noqa: PLC0415

    tracker = Tracker(settings, fingerprint(settings, grids, parts, test))
    former = None if anew else tracker.find(total)
    entries = _entries(former, grids)
    progress.started(total, len(entries), *parts.sizes, len(test.X) if test else 0)
    training = _Training(settings.training.metric, tracker, parts, test, progress, entries)
    if former and former.finished and len(entries) == total:
        return training.result(former.run_id, former.test or None)
    if former and entries:
        missing = [grid.without(former.tracked) for grid in grids]
        scored = worker.fit(missing, rows, settings.data.seed)
    by_name = {grid.name: grid for grid in grids}
    candidates = (Candidate.of(one, by_name[one.family], rows) for one in scored)
    return training.run(candidates, former)


@dataclass
class _Training:
    """One call of `train`, once it is known what is tracked already."""

    metric: MetricName
    tracker: "Tracker"
    parts: Split
    test: Dataset | None
    progress: Progress
    entries: list[Entry]

    def __post_init__(self) -> None:
        self.before = len(self.entries)

    def run(self, candidates: Iterator[Candidate], former: "Former | None") -> Result:
        """Track the candidates, rank all there are, and score the winner on the test rows."""
        best: Candidate | None = None
        with self.tracker.parent(self.parts, self.test, former) as parent_id:
            for candidate in candidates:
                entry = _entry(candidate, self.tracker.log_candidate(candidate, parent_id))
                self.entries.append(entry)
                if self.ranked()[0] is entry:
                    best = candidate
                self.progress.tracked(entry, self.ranked()[0])
            winner = self.ranked()[0]
            score = None
            if self.test:
                pipeline = best.pipeline if best else self.tracker.load(winner.run_id)
                score = eval_metrics(self.test.y, pipeline.predict(self.test.X))
            self.tracker.log_result(parent_id, self.table(), winner.run_id, score or {})
        return self.result(parent_id, score)

    def ranked(self) -> Sequence[Entry]:
        """Order by the metric, the best first; equal ones by name, never by chance."""
        return sorted(self.entries, key=lambda one: (loss(one.metrics, self.metric), one.name))

    def table(self) -> pd.DataFrame:
        """Return the leaderboard as it is recorded."""
        rows = [
            {
                "rank": rank,
                "combination": entry.name,
                **entry.metrics,
                "fit_seconds": entry.fit_seconds,
                "run_id": entry.run_id,
            }
            for rank, entry in enumerate(self.ranked(), start=1)
        ]
        return pd.DataFrame(rows)

    def result(self, parent_id: str, score: Metrics | None) -> Result:
        """Return what it came to."""
        return Result(
            tracking_uri=without_password(self.tracker.uri),
            experiment=self.tracker.experiment,
            parent_run_id=parent_id,
            metric=self.metric,
            leaderboard=self.ranked(),
            test=score,
            tracked_before=self.before,
        )


def _entry(candidate: Candidate, run_id: str) -> Entry:
    facts = (candidate.name, candidate.grid.name, candidate.params, candidate.metrics)
    return Entry(run_id, *facts, candidate.seconds)


def _entries(former: "Former | None", grids: Sequence[FamilyGrid]) -> list[Entry]:
    """Return what a former training has tracked of these grids."""
    tracked = former.tracked if former else {}
    return [
        Entry(one.run_id, title, grid.name, params, one.metrics, one.fit_seconds)
        for grid in grids
        for params in grid.combinations
        if (one := tracked.get(title := grid.title(params)))
    ]
