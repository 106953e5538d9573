"""Tracking a training in MLflow: one parent run per training, one child run per combination.

An interrupted training is found by its fingerprint, and resumed in the same parent run.
"""

import json
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

import mlflow.artifacts
import mlflow.sklearn
import pandas as pd
from mlflow.entities import LoggedModelOutput, Run
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS, MLFLOW_PARENT_RUN_ID
from sklearn.pipeline import Pipeline

from contract.errors import HostError, TrackingError
from contract.settings.loader import Settings
from training.cluster import SINGLE_HOST, Cluster
from training.data.dataset import Dataset, Split
from training.metrics import METRICS, Metrics
from training.runs.dataset_inputs import dataset_inputs
from training.runs.host_session import HostSession, new_attempt
from training.runs.mlflow_client import MLFLOW_ERRORS, TrackingClient, short_timeouts
from training.runs.model_writer import ModelWriter
from training.runs.run_lock import RunLock, heartbeat
from training.runs.scratch import scratch_folder
from training.runs.tags import (
    ATTEMPT_TAG,
    DATA_DIGEST_TAG,
    FINGERPRINT_TAG,
    HEARTBEAT_TAG,
    RESUME_ID_TAG,
    TEST_DIGEST_TAG,
    WINNER_RUN_ID_TAG,
    WINNER_TAG,
)
from training.runs.training_artifacts import write_artifacts
from training.search.grid import EvaluatedPipeline

MODEL_NAME = "model"
"""The name of the models in their runs: `runs:/<id>/model`."""
PARENT_RUN_NAME = "grid-search"
LEADERBOARD_FILE = "leaderboard.json"


@dataclass(frozen=True)
class TrackedRun:
    """A tracked combination with its model."""

    run_id: str
    metrics: Metrics
    fit_seconds: float


@dataclass(frozen=True)
class PreviousTraining:
    """A training with the same fingerprint, as far as it is tracked."""

    run_id: str
    tracked: Mapping[str, TrackedRun] = field(repr=False)
    """The finished combinations, by name."""
    finished: bool
    """Whether its run is FINISHED; if not, its lock is held, to resume it."""
    test: Metrics
    """The winner's metrics on the test rows; empty if it has none."""
    lock: RunLock | None = None


class Tracker:
    """The runs of one training."""

    def __init__(
        self, settings: Settings, fingerprint: str, cluster: Cluster = SINGLE_HOST
    ) -> None:
        """Connect to the tracking store.

        Args:
            settings: The training's settings.
            fingerprint: Identifies trainings with the same results.
            cluster: The hosts that share the training.

        Raises:
            TrackingError: No store responds at the URI within seconds, or it refuses.
        """
        self._client = TrackingClient(settings, cluster.current_host if cluster.peers else "")
        self.hosts = HostSession(self._client, cluster)
        self._settings = settings
        self._fingerprint = fingerprint
        self._cluster = cluster
        self._locks = settings.root / ".local" / "running"

    @property
    def uri(self) -> str:
        """The tracking URI."""
        return self._client.uri

    @property
    def experiment(self) -> str:
        """The experiment's name."""
        return str(self._client.experiment.name)

    def find(self, total: int, force: bool = False) -> PreviousTraining | None:
        """Return a previous training with this fingerprint and number of combinations.

        A finished and complete one is preferred; else the latest one that no process is training
        in. If `tracking.run_id` names the run to train in, only that one is considered.

        Args:
            total: The number of combinations.
            force: Whether only an earlier attempt with the same resume id is considered.
        """
        if force and not self._cluster.resume_id:
            return None
        with self._client.errors():
            if own := self._settings.tracking.run_id:
                runs = [self._client.client.get_run(own)]
            else:
                runs = list(self._client.search_runs(self._query))
            same = [r for r in runs if r.data.tags.get(FINGERPRINT_TAG) == self._fingerprint]
            if force:
                same = [run for run in same if self._has_own_resume_id(run)]
            finished = [self._load_training(r) for r in same if r.info.status == "FINISHED"]
            for training in finished:
                if len(training.tracked) == total:
                    return training
            for run in same:
                if lock := self._acquire_lock(run):
                    return self._load_training(run, lock)
        return None

    @contextmanager
    def parent_run(
        self, data_split: Split, test: Dataset | None, previous: PreviousTraining | None
    ) -> Iterator[str]:
        """Start or resume the parent run, and log what the combinations share; yield its id.

        On exit it is FINISHED, after an interrupt KILLED, and after another exception FAILED.

        Args:
            data_split: The training and validation rows.
            test: The test rows.
            previous: The training to resume; None starts a new one.
        """
        # The lock is released last: another process must not resume a run that is terminated here.
        with ExitStack() as locked, self.hosts, self._client.terminate_on_failure():
            attempt = new_attempt()
            run_id, lock = self._start(previous, attempt)
            locked.enter_context(lock)
            with self._prepare(run_id, data_split):
                with self._client.errors():
                    self._client.terminate_children(run_id, "KILLED")
                    self._client.client.log_inputs(run_id, self._inputs)
                    self._log_artifacts(run_id, data_split, test)
                self.hosts.start(run_id, attempt)
                yield run_id
            self._client.finish_active_run()

    @contextmanager
    def join(self, data_split: Split, combinations: Collection[str]) -> Iterator[PreviousTraining]:
        """Wait for the leader's parent run, and take part in it as a peer; yield what is tracked.

        On exit this host's share is reported as tracked; after an exception its running children
        are terminated, and no other run.

        Args:
            data_split: The training and validation rows.
            combinations: The names of this host's combinations.

        Raises:
            HostError: The leader ended, or it didn't start in time; the message names it.
        """

        def is_complete(run: Run) -> bool:
            return set(combinations) <= set(self.tracked(run.info.run_id))

        def find() -> Sequence[Run]:
            query = f"{self._query} and tags.`{RESUME_ID_TAG}` = '{self._cluster.resume_id}'"
            with self._client.errors():
                return self._client.search_runs(query)

        with ExitStack() as locked, self.hosts, self._client.terminate_on_failure():
            run = self.hosts.wait_for_leader(find, is_complete)
            run_id, host = run.info.run_id, self._cluster.current_host
            with self._client.errors():
                training = self._load_training(run)
            if training.finished:
                yield training
            else:
                own = f"{run_id}.{host}"
                lock = RunLock.acquire(self._locks, own, running=False, tags={})
                if not lock:
                    raise HostError(f"another process is {host} of the training in run {run_id}")
                locked.enter_context(lock)
                self._client.join_run(run_id)
                self.hosts.start(run_id, run.data.tags[ATTEMPT_TAG])
                with self._prepare(own, data_split):
                    yield training
                self.hosts.finish()

    def announce_to_peers(self, training: PreviousTraining) -> None:
        """Let the peers find a finished training, in which nothing is left to do."""
        if self._cluster.peers:
            with self._client.errors():
                self._client.client.set_tag(training.run_id, RESUME_ID_TAG, self._cluster.resume_id)

    def tracked(self, parent_id: str) -> Mapping[str, TrackedRun]:
        """Return the finished combinations of a training, by name."""
        with self._client.errors():
            return self._tracked(parent_id)

    def log_combination(self, evaluated: EvaluatedPipeline, parent_id: str) -> str:
        """Log a combination with its model in a child run; return the run's id."""
        # In one call: passing each request to another thread takes time.
        return self._client.call(lambda: self._log_combination(evaluated, parent_id))

    def log_result(
        self, parent_id: str, leaderboard: pd.DataFrame, winner_id: str, test: Mapping[str, float]
    ) -> None:
        """Log the leaderboard, the winner, and its metrics on the test rows ({} if none)."""
        best = leaderboard.iloc[0]
        test_metrics = {f"test_{name}": value for name, value in test.items()}
        # What `log_table` logs, which would append to a table that exists.
        table = json.dumps([{"path": LEADERBOARD_FILE, "type": "table"}])
        tags = {WINNER_RUN_ID_TAG: winner_id, MLFLOW_LOGGED_ARTIFACTS: table}
        with self._client.errors():
            # A server that died after creating a run, and before responding, got a second request.
            self._client.terminate_children(parent_id, "KILLED")
            text = leaderboard.to_json(orient="split", index=False, double_precision=15)
            self._client.client.log_text(parent_id, text, LEADERBOARD_FILE)
            self._client.log_batch(winner_id, test_metrics, tags={WINNER_TAG: "true"})
            metrics = {name: best[name] for name in METRICS} | test_metrics
            self._client.log_batch(parent_id, metrics, tags=tags)

    def load_pipeline(self, run_id: str) -> Pipeline:
        """Load the pipeline of a tracked combination."""
        client = self._client.client
        with self._client.errors():
            (output,) = client.get_run(run_id).outputs.model_outputs
            uri = client.get_logged_model(output.model_id).artifact_location
            folder = self._client.call(
                lambda: mlflow.artifacts.download_artifacts(
                    artifact_uri=uri, dst_path=str(self._scratch / "winner"), tracking_uri=self.uri
                )
            )
            return mlflow.sklearn.load_model(folder)

    def _load_training(self, run: Run, lock: RunLock | None = None) -> PreviousTraining:
        run_id = run.info.run_id
        tracked = self._tracked(run_id)
        test = {
            str(name): run.data.metrics[f"test_{name}"]
            for name in METRICS
            if f"test_{name}" in run.data.metrics
        }
        return PreviousTraining(run_id, tracked, run.info.status == "FINISHED", test, lock)

    def _tracked(self, run_id: str) -> Mapping[str, TrackedRun]:
        return {
            child.info.run_name: TrackedRun(
                child.info.run_id,
                {str(name): child.data.metrics[name] for name in METRICS},
                child.data.metrics["fit_seconds"],
            )
            for child in self._client.child_runs(run_id, "FINISHED")
        }

    @property
    def _query(self) -> str:
        return f"tags.`{FINGERPRINT_TAG}` = '{self._fingerprint}'"

    def _has_own_resume_id(self, run: Run) -> bool:
        resume_id = self._cluster.resume_id
        return bool(resume_id) and run.data.tags.get(RESUME_ID_TAG) == resume_id

    @contextmanager
    def _prepare(self, name: str, data_split: Split) -> Iterator[None]:
        """Prepare what the combinations share, in a scratch folder of the name of a held lock."""
        folder = self._settings.root / ".local" / "scratch"
        with scratch_folder(folder, name, self._locks) as scratch:
            self._scratch = scratch
            self._inputs = dataset_inputs(data_split)
            self._models = ModelWriter(data_split, scratch / "models")
            yield

    def _acquire_lock(self, run: Run) -> RunLock | None:
        # SageMaker starts a job again only after its instances are gone: the heartbeat of an
        # earlier attempt is that of a dead process, however recent it is.
        running = run.info.status == "RUNNING" and not self._has_own_resume_id(run)
        return RunLock.acquire(self._locks, run.info.run_id, running, run.data.tags)

    def _start(self, previous: PreviousTraining | None, attempt: str) -> tuple[str, RunLock]:
        """Return the run to train in, which is RUNNING, and its lock."""
        tags = {
            FINGERPRINT_TAG: self._fingerprint,
            HEARTBEAT_TAG: heartbeat(),
            ATTEMPT_TAG: attempt,
        }
        # Overwritten, even by none: a job that trained in the run before can't take it over again.
        if previous or self._cluster.resume_id:
            tags[RESUME_ID_TAG] = self._cluster.resume_id
        with self._client.errors():
            run_id = previous.run_id if previous else self._settings.tracking.run_id
            lock = previous.lock if previous else None
            if not run_id:
                run_id = self._client.create_active_run(PARENT_RUN_NAME, tags)
                lock = RunLock.acquire(self._locks, run_id, running=False, tags={})
            elif not lock:
                lock = self._acquire_lock(self._client.client.get_run(run_id))
            if not lock:
                raise TrackingError(f"another process is training in run {run_id}")
            self._client.resume_run(run_id)
            self._client.log_batch(run_id, tags=tags)
        lock.start_heartbeat(
            lambda: self._client.client.set_tag(run_id, HEARTBEAT_TAG, heartbeat())
        )
        return run_id, lock

    def _log_combination(self, evaluated: EvaluatedPipeline, parent_id: str) -> str:
        started_at = time.time() - evaluated.fit_seconds
        params = {"family": evaluated.family, **evaluated.params}
        run_id = self._client.create_run(
            evaluated.name, {MLFLOW_PARENT_RUN_ID: parent_id}, started_at
        )
        metrics = {**evaluated.metrics, "fit_seconds": evaluated.fit_seconds}
        with self._client.errors():
            self._client.log_batch(run_id, metrics, params)
            self._client.client.log_inputs(run_id, self._inputs)
            self._log_model(run_id, evaluated, {key: str(value) for key, value in params.items()})
            self._client.client.set_terminated(run_id)
        return run_id

    def _log_model(self, run_id: str, evaluated: EvaluatedPipeline, params: dict[str, str]) -> None:
        client = self._client.client
        experiment_id = self._client.experiment.experiment_id
        model = client.create_logged_model(experiment_id, MODEL_NAME, run_id, params=params)
        try:
            folder = self._models.write(evaluated.pipeline, evaluated.grid.family, model)
            client.log_model_artifacts(model.model_id, str(folder))
            client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        except Exception:  # after an interrupt, `terminate_on_failure` does the same
            with suppress(*MLFLOW_ERRORS), short_timeouts():
                client.finalize_logged_model(model.model_id, "FAILED")
            raise
        client.finalize_logged_model(model.model_id, "READY")

    def _log_artifacts(self, run_id: str, data_split: Split, test: Dataset | None) -> None:
        folder = self._scratch / "artifacts"
        write_artifacts(folder, self._settings, data_split, test)
        self._client.client.log_artifacts(run_id, str(folder))
        shutil.rmtree(folder)
        digests = {DATA_DIGEST_TAG: data_split.digest}
        self._client.log_batch(
            run_id, tags=digests | ({TEST_DIGEST_TAG: test.digest} if test else {})
        )
