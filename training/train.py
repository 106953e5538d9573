"""A training from end to end: read, fit, track, rank, and score the winner on the test rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from contract.settings.loader import Settings, mask_password
from contract.settings.sections import MetricName
from training.data.dataset import Dataset, Split, read_test, read_training, split
from training.metrics import Metrics, eval_metrics, loss
from training.result import LeaderboardEntry, Progress, TrainingResult
from training.search.grid import Candidate, FamilyGrid, plan_grids, prepare_data
from training.search.worker import Worker

if TYPE_CHECKING:
    from training.runs.tracker import PreviousTraining, Tracker


def train(
    settings: Settings, progress: Progress, worker: Worker, force: bool = False
) -> TrainingResult:
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
    grids = plan_grids(settings)
    data = read_training(settings)
    test = read_test(settings, data)
    parts = split(data, settings)
    rows = prepare_data(parts, settings)

    total = sum(len(grid.combinations) for grid in grids)
    # MLflow takes seconds to load and to open: in the meantime the first ones are fitted.
    scored = worker.fit(grids, rows, settings.data.seed)
    from training.runs.fingerprint import fingerprint  # noqa: PLC0415
    from training.runs.tracker import Tracker  # noqa: PLC0415

    tracker = Tracker(settings, fingerprint(settings, grids, parts, test))
    previous = None if force else tracker.find(total)
    entries = _entries(previous, grids)
    progress.started(total, len(entries), *parts.sizes, len(test.X) if test else 0)
    training = _Training(settings.training.metric, tracker, parts, test, progress, entries)
    if previous and previous.finished and len(entries) == total:
        return training.result(previous.run_id, previous.test or None)
    if previous and entries:
        missing = [grid.without(previous.tracked) for grid in grids]
        scored = worker.fit(missing, rows, settings.data.seed)
    by_name = {grid.name: grid for grid in grids}
    candidates = (Candidate.of(one, by_name[one.family], rows) for one in scored)
    return training.run(candidates, previous)


@dataclass
class _Training:
    """One call of `train`, once it is known what is tracked already."""

    metric: MetricName
    tracker: "Tracker"
    parts: Split
    test: Dataset | None
    progress: Progress
    entries: list[LeaderboardEntry]

    def __post_init__(self) -> None:
        self.before = len(self.entries)

    def run(
        self, candidates: Iterator[Candidate], previous: "PreviousTraining | None"
    ) -> TrainingResult:
        """Track the candidates, rank all there are, and score the winner on the test rows."""
        best: Candidate | None = None
        with self.tracker.parent(self.parts, self.test, previous) as parent_id:
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

    def ranked(self) -> Sequence[LeaderboardEntry]:
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

    def result(self, parent_id: str, score: Metrics | None) -> TrainingResult:
        """Return what it came to."""
        return TrainingResult(
            tracking_uri=mask_password(self.tracker.uri),
            experiment=self.tracker.experiment,
            parent_run_id=parent_id,
            metric=self.metric,
            leaderboard=self.ranked(),
            test_metrics=score,
            already_tracked=self.before,
        )


def _entry(candidate: Candidate, run_id: str) -> LeaderboardEntry:
    facts = (candidate.name, candidate.grid.name, candidate.params, candidate.metrics)
    return LeaderboardEntry(run_id, *facts, candidate.seconds)


def _entries(
    previous: "PreviousTraining | None", grids: Sequence[FamilyGrid]
) -> list[LeaderboardEntry]:
    """Return what a former training has tracked of these grids."""
    tracked = previous.tracked if previous else {}
    return [
        LeaderboardEntry(one.run_id, title, grid.name, params, one.metrics, one.fit_seconds)
        for grid in grids
        for params in grid.combinations
        if (one := tracked.get(title := grid.title(params)))
    ]
