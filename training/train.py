"""A training: read, split, fit, track, rank, and score the winner on the test rows."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contract.errors import HostError, TrackingError
from contract.settings.loader import Settings, mask_password
from training.cluster import SINGLE_HOST, Cluster
from training.data.features import limit_working_memory
from training.leaderboard import Leaderboard, new_entry, tracked_entries
from training.metrics import Metrics, eval_metrics
from training.plan import TrainingPlan, combination_names
from training.result import Progress, ShareResult, TrainingResult
from training.search.grid import EvaluatedPipeline
from training.search.worker import Worker

if TYPE_CHECKING:
    from training.runs.tracker import PreviousTraining, Tracker


def train(
    settings: Settings,
    progress: Progress,
    worker: Worker,
    force: bool = False,
    cluster: Cluster = SINGLE_HOST,
) -> TrainingResult:
    """Train and track every combination that isn't tracked yet; return all of them, ranked.

    A previous training on the same data, code and settings is resumed in its run if it was
    interrupted. If it is finished, its result is returned. Of several hosts, the leader calls this;
    the others call `train_share`.

    Args:
        settings: The data, the families and their grids, and the tracking store.
        progress: Receives each combination once it is tracked, by whatever host.
        worker: The process that fits. If it was started early, its libraries are loaded by now.
        force: Whether to train everything again, even if it is tracked already. A job that is
            started again still resumes the run with its resume id.
        cluster: The hosts that share the combinations.

    Raises:
        StackError: A setting or a table is not usable, the tracking store is unreachable or fails,
            or the worker process or another host stopped. Combinations that are tracked by then are
            kept.
    """
    if not cluster.is_leader:
        raise ValueError(f"{cluster.current_host} is not the leader")
    plan = TrainingPlan.from_settings(settings, cluster)
    # MLflow takes seconds to load and to open its store: the first fits run in the meantime.
    evaluated = worker.fit(plan.share, plan.prepared, settings.data.seed)
    tracker = plan.open_tracker()
    total = len(combination_names(plan.grids))
    previous = tracker.find(total, force)
    tracked = previous.tracked if previous else {}
    leaderboard = Leaderboard(settings.training.metric, tracked_entries(tracked, plan.grids))
    before = len(leaderboard.entries)
    progress.started(total, before, *plan.rows)
    run = _TrainingRun(plan, tracker, progress, leaderboard, before)
    if previous and previous.finished and before == total:
        tracker.announce_to_peers(previous)
        return run.result(previous.run_id, previous.test or None)
    if before:
        evaluated = worker.fit(plan.remaining(tracked), plan.prepared, settings.data.seed)
    return run.track(plan.pipelines(evaluated), previous)


def train_share(
    settings: Settings, progress: Progress, worker: Worker, cluster: Cluster
) -> ShareResult:
    """Train and track the share of a host that is not the leader, in the leader's run.

    Args:
        settings: The same as on the leader.
        progress: Receives each combination of this host once it is tracked.
        worker: The process that fits.
        cluster: The hosts that share the combinations.

    Raises:
        StackError: As `train` raises it. A HostError says that the leader stopped, or that it
            didn't start in time.
    """
    if cluster.is_leader:
        raise ValueError(f"{cluster.current_host} is the leader")
    plan = TrainingPlan.from_settings(settings, cluster)
    evaluated = worker.fit(plan.share, plan.prepared, settings.data.seed)
    tracker = plan.open_tracker()
    names = combination_names(plan.share)
    with tracker.join(plan.data_split, names) as training:
        entries = tracked_entries(training.tracked, plan.share)
        leaderboard = Leaderboard(settings.training.metric, entries)
        before = len(entries)
        progress.started(len(names), before, *plan.rows)
        if before:
            remaining = plan.remaining(training.tracked)
            evaluated = worker.fit(remaining, plan.prepared, settings.data.seed)
        for pipeline in plan.pipelines(evaluated):
            tracker.hosts.check_leader()
            if pipeline:
                run_id = tracker.log_combination(pipeline, training.run_id)
                leaderboard.add(new_entry(pipeline, run_id))
                progress.tracked(leaderboard.entries[-1], leaderboard.best)
    return ShareResult(training.run_id, len(names), before)


@dataclass
class _TrainingRun:
    """One call of `train`, from the moment at which the previous training is known."""

    plan: TrainingPlan
    tracker: "Tracker"
    progress: Progress
    leaderboard: Leaderboard
    already_tracked: int

    def __post_init__(self) -> None:
        self._collected_at = time.monotonic()

    def track(
        self, pipelines: Iterator[EvaluatedPipeline | None], previous: "PreviousTraining | None"
    ) -> TrainingResult:
        """Track the pipelines, rank all combinations, and score the winner on the test rows."""
        best: EvaluatedPipeline | None = None
        board, test = self.leaderboard, self.plan.test
        with self.tracker.parent_run(self.plan.data_split, test, previous) as parent_id:
            for evaluated in pipelines:
                if evaluated:
                    entry = new_entry(evaluated, self.tracker.log_combination(evaluated, parent_id))
                    board.add(entry)
                    if board.best is entry:
                        best = evaluated
                    self.progress.tracked(entry, board.best)
                self._collect_from_peers(parent_id, self.plan.cluster.timeouts.heartbeat)
                self._check_peers(parent_id)
            self._wait_for_peers(parent_id)
            winner = board.best
            test_metrics = None
            if test:
                if best and best.name == winner.name:
                    pipeline = best.pipeline
                else:  # a previous training or a peer has fitted it
                    pipeline = self.tracker.load_pipeline(winner.run_id)
                with limit_working_memory():
                    test_metrics = eval_metrics(test.y, pipeline.predict(test.X))
            self.tracker.log_result(parent_id, board.to_frame(), winner.run_id, test_metrics or {})
        return self.result(parent_id, test_metrics)

    def _wait_for_peers(self, parent_id: str) -> None:
        """Wait until the peers have tracked their shares.

        Raises:
            HostError: One of them failed, stopped, or didn't start in time.
        """
        timeouts = self.plan.cluster.timeouts
        while not self.tracker.hosts.peers_done:
            self._check_peers(parent_id)
            self._collect_from_peers(parent_id, timeouts.heartbeat)
            time.sleep(timeouts.poll)
        self._collect_from_peers(parent_id)
        if not self._is_complete:
            reason = f"all hosts are done, but only {self._tracked}"
            raise TrackingError(f"{reason}; start the training again")

    def _check_peers(self, parent_id: str) -> None:
        """Check that the peers still train.

        Raises:
            HostError: One of them failed, stopped, or didn't start in time.
        """
        if problem := self.tracker.hosts.problem:
            self._collect_from_peers(parent_id)
            advice = f"start the training again: {self._tracked} and will not be trained again"
            raise HostError(f"{problem}; {advice}")

    @property
    def _total(self) -> int:
        return len(combination_names(self.plan.grids))

    @property
    def _is_complete(self) -> bool:
        return len(self.leaderboard.entries) == self._total

    @property
    def _tracked(self) -> str:
        return f"{len(self.leaderboard.entries)} of {self._total} combinations are tracked"

    def _collect_from_peers(self, parent_id: str, interval: float = 0.0) -> None:
        """Add what the peers have tracked, at most once in an interval of seconds."""
        now = time.monotonic()
        if not self.plan.cluster.peers or now - self._collected_at < interval:
            return
        self._collected_at = now
        known = {entry.name for entry in self.leaderboard.entries}
        for entry in tracked_entries(self.tracker.tracked(parent_id), self.plan.grids):
            if entry.name not in known:
                self.leaderboard.add(entry)
                self.progress.tracked(entry, self.leaderboard.best)

    def result(self, parent_id: str, test_metrics: Metrics | None) -> TrainingResult:
        """Return the result, with all combinations ranked."""
        return TrainingResult(
            tracking_uri=mask_password(self.tracker.uri),
            experiment=self.tracker.experiment,
            parent_run_id=parent_id,
            metric=self.leaderboard.metric,
            leaderboard=self.leaderboard.ranked(),
            test_metrics=test_metrics,
            already_tracked=self.already_tracked,
        )
