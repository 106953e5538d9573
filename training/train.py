"""A training: read, split, fit, track, rank, and score the winner on the test rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from contract.settings.loader import Settings, mask_password
from contract.settings.sections import MetricName
from training.data.dataset import Dataset, Split, read_test, read_training, split
from training.metrics import Metrics, eval_metrics, loss
from training.result import LeaderboardEntry, Progress, TrainingResult
from training.search.grid import EvaluatedPipeline, FamilyGrid, plan_grids, prepare_data
from training.search.worker import Worker

if TYPE_CHECKING:
    from training.runs.tracker import PreviousTraining, Tracker


def train(
    settings: Settings, progress: Progress, worker: Worker, force: bool = False
) -> TrainingResult:
    """Train and track every combination that isn't tracked yet; return all of them, ranked.

    A previous training on the same data, code and settings is resumed in its run if it was
    interrupted. If it is finished, its result is returned.

    Args:
        settings: The data, the families and their grids, and the tracking store.
        progress: Receives each combination once it is tracked.
        worker: The process that fits. If it was started early, its libraries are loaded by now.
        force: Whether to train everything again, even if it is tracked already.

    Raises:
        StackError: A setting or a table is not usable, the tracking store is unreachable or fails,
            or the worker process stopped. Combinations that are tracked by then are kept.
    """
    grids = plan_grids(settings)
    data = read_training(settings)
    test = read_test(settings, data)
    data_split = split(data, settings)
    prepared = prepare_data(data_split, settings)

    total = sum(len(grid.combinations) for grid in grids)
    # MLflow takes seconds to load and to open its store: the first fits run in the meantime.
    evaluated = worker.fit(grids, prepared, settings.data.seed)
    from training.runs.fingerprint import fingerprint  # noqa: PLC0415
    from training.runs.tracker import Tracker  # noqa: PLC0415

    tracker = Tracker(settings, fingerprint(settings, grids, data_split, test))
    previous = None if force else tracker.find(total)
    entries = _tracked_entries(previous, grids)
    rows = (len(data_split.X_train), len(data_split.X_val), len(test.X) if test else 0)
    progress.started(total, len(entries), *rows)
    run = _TrainingRun(settings.training.metric, tracker, data_split, test, progress, entries)
    if previous and previous.finished and len(entries) == total:
        return run.result(previous.run_id, previous.test or None)
    if previous and entries:
        remaining = [grid.exclude(previous.tracked) for grid in grids]
        evaluated = worker.fit(remaining, prepared, settings.data.seed)
    by_name = {grid.name: grid for grid in grids}
    pipelines = (
        EvaluatedPipeline.from_model(model, by_name[model.family], prepared) for model in evaluated
    )
    return run.track(pipelines, previous)


@dataclass
class _TrainingRun:
    """One call of `train`, from the moment at which the previous training is known."""

    metric: MetricName
    tracker: "Tracker"
    data_split: Split
    test: Dataset | None
    progress: Progress
    entries: list[LeaderboardEntry]

    def __post_init__(self) -> None:
        self.already_tracked = len(self.entries)

    def track(
        self, pipelines: Iterator[EvaluatedPipeline], previous: "PreviousTraining | None"
    ) -> TrainingResult:
        """Track the pipelines, rank all combinations, and score the winner on the test rows."""
        best: EvaluatedPipeline | None = None
        with self.tracker.parent_run(self.data_split, self.test, previous) as parent_id:
            for evaluated in pipelines:
                entry = _entry(evaluated, self.tracker.log_combination(evaluated, parent_id))
                self.entries.append(entry)
                if self.ranked()[0] is entry:
                    best = evaluated
                self.progress.tracked(entry, self.ranked()[0])
            winner = self.ranked()[0]
            test_metrics = None
            if self.test:
                pipeline = best.pipeline if best else self.tracker.load_pipeline(winner.run_id)
                test_metrics = eval_metrics(self.test.y, pipeline.predict(self.test.X))
            leaderboard = self.leaderboard()
            self.tracker.log_result(parent_id, leaderboard, winner.run_id, test_metrics or {})
        return self.result(parent_id, test_metrics)

    def ranked(self) -> Sequence[LeaderboardEntry]:
        """Sort by the metric, best first; ties by name, so that the order is deterministic."""
        return sorted(
            self.entries, key=lambda entry: (loss(entry.metrics, self.metric), entry.name)
        )

    def leaderboard(self) -> pd.DataFrame:
        """Return the leaderboard as the table that is logged to MLflow."""
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

    def result(self, parent_id: str, test_metrics: Metrics | None) -> TrainingResult:
        """Return the result, with all combinations ranked."""
        return TrainingResult(
            tracking_uri=mask_password(self.tracker.uri),
            experiment=self.tracker.experiment,
            parent_run_id=parent_id,
            metric=self.metric,
            leaderboard=self.ranked(),
            test_metrics=test_metrics,
            already_tracked=self.already_tracked,
        )


def _entry(evaluated: EvaluatedPipeline, run_id: str) -> LeaderboardEntry:
    return LeaderboardEntry(
        run_id=run_id,
        name=evaluated.name,
        family=evaluated.family,
        params=evaluated.params,
        metrics=evaluated.metrics,
        fit_seconds=evaluated.fit_seconds,
    )


def _tracked_entries(
    previous: "PreviousTraining | None", grids: Sequence[FamilyGrid]
) -> list[LeaderboardEntry]:
    """Return the combinations of these grids that a previous training has tracked."""
    tracked = previous.tracked if previous else {}
    return [
        LeaderboardEntry(run.run_id, name, grid.name, params, run.metrics, run.fit_seconds)
        for grid in grids
        for params in grid.combinations
        if (run := tracked.get(name := grid.combination_name(params)))
    ]
