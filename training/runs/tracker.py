"""The record in MLflow: one parent run a training, one child run a combination.

A training that was cut off is found again by its fingerprint, and goes on in the same parent run.
"""

import hashlib
import json
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import mlflow.artifacts
import mlflow.sklearn
import pandas as pd
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.pandas_dataset import PandasDataset
from mlflow.entities import (
    Dataset as DatasetEntity,
)
from mlflow.entities import (
    DatasetInput,
    InputTag,
    LoggedModelOutput,
    Run,
)
from mlflow.types import Schema
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS, MLFLOW_PARENT_RUN_ID
from sklearn.pipeline import Pipeline

from contract.errors import TrackingError
from contract.paths import PROJECT_ROOT
from contract.settings.loader import Settings
from training.data.dataset import Dataset, Split
from training.metrics import METRICS, Metrics
from training.runs.mlflow_client import MLFLOW_ERRORS, TrackingClient, short_timeouts
from training.runs.model_writer import ModelWriter, infer_schema
from training.runs.run_lock import HEARTBEAT_TAG, RunLock, heartbeat
from training.search.grid import EvaluatedPipeline

MODEL = "model"
"""The models' name in their runs: `runs:/<id>/model`."""
CODE = ("contract", "training", "scripts", "pyproject.toml", "requirements/train.txt")
FINGERPRINT_TAG = "training.fingerprint"


@dataclass(frozen=True)
class TrackedRun:
    """A combination that is recorded, with its model."""

    run_id: str
    metrics: Metrics
    fit_seconds: float


@dataclass(frozen=True)
class PreviousTraining:
    """A training on the same data, code and settings, as far as it is recorded."""

    run_id: str
    tracked: Mapping[str, TrackedRun] = field(repr=False)
    """What was finished, by the combinations' names."""
    finished: bool
    """Whether it came to its end; else it is claimed, to go on in it."""
    test: Metrics
    """The winner's score on the test rows; empty where it has none."""
    claim: RunLock | None = None


class Tracker:
    """One training's entries in the tracking store."""

    def __init__(self, settings: Settings, fingerprint: str) -> None:
        """Open the store.

        Args:
            settings: Of the training.
            fingerprint: What tells whether another training would come to the same results.

        Raises:
            TrackingError: No store answers at the URI within seconds, or it refuses.
        """
        self._store = TrackingClient(settings)
        self._settings = settings
        self._fingerprint = fingerprint
        self._locks = settings.root / ".local" / "running"

    @property
    def uri(self) -> str:
        """The store's URI."""
        return self._store.uri

    @property
    def experiment(self) -> str:
        """The experiment's name."""
        return str(self._store.experiment.name)

    def find(self, total: int) -> PreviousTraining | None:
        """Find a training with this fingerprint, of as many combinations.

        One that is finished and complete comes first; else the latest one that no process is
        training in. Where `tracking.run_id` names the run to train in, only that one counts.
        """
        with self._store.errors():
            if own := self._settings.tracking.run_id:
                runs = [self._store.client.get_run(own)]
            else:
                runs = list(self._store.search(f"tags.`{FINGERPRINT_TAG}` = '{self._fingerprint}'"))
            same = [r for r in runs if r.data.tags.get(FINGERPRINT_TAG) == self._fingerprint]
            candidates = [self._read(run) for run in same if run.info.status == "FINISHED"]
            for previous in candidates:
                if len(previous.tracked) == total:
                    return previous
            for run in same:
                if claim := self._claim(run):
                    return self._read(run, claim)
        return None

    @contextmanager
    def parent(
        self, split: Split, test: Dataset | None, previous: PreviousTraining | None
    ) -> Iterator[str]:
        """Enter the run that holds the combinations' runs and what they share; yield its id.

        It ends as FINISHED, as KILLED where the training was interrupted, else as FAILED.

        Args:
            split: The rows that are trained on and compared on.
            test: The rows that the winner is scored on.
            previous: The training to resume; None starts a new one.
        """
        run_id, claim = self._begin(previous)
        with claim, self._store.terminating(run_id), tempfile.TemporaryDirectory() as scratch:
            self._inputs = _dataset_inputs(split)
            self._models = ModelWriter(split, Path(scratch))
            with self._store.errors():
                self._store.terminate_children(run_id, "KILLED")
                self._store.client.log_inputs(run_id, self._inputs)
                self._log_files(run_id, split, test)
            yield run_id

    def log_combination(self, evaluated: EvaluatedPipeline, parent_id: str) -> str:
        """Record a combination with its model in a run of its own; return the run's id."""
        began = time.time() - evaluated.fit_seconds
        params = {"family": evaluated.grid.name, **evaluated.params}
        below = {MLFLOW_PARENT_RUN_ID: parent_id}
        run_id = self._store.create_run(evaluated.name, below, began)
        with self._store.terminating(run_id):
            with self._store.errors():
                figures = {**evaluated.metrics, "fit_seconds": evaluated.fit_seconds}
                self._store.log(run_id, figures, params)
                self._store.client.log_inputs(run_id, self._inputs)
            self._log_model(run_id, evaluated, {key: str(value) for key, value in params.items()})
        return run_id

    def log_result(
        self, parent_id: str, leaderboard: pd.DataFrame, winner_id: str, test: Mapping[str, float]
    ) -> None:
        """Record the leaderboard, the winner and its score on the test rows ({} where none are)."""
        best = leaderboard.iloc[0]
        scores = {f"test_{name}": value for name, value in test.items()}
        name = "leaderboard.json"
        # What `log_table` writes, which would append to a table that is there.
        table = json.dumps([{"path": name, "type": "table"}])
        tags = {"winner": winner_id, MLFLOW_LOGGED_ARTIFACTS: table}
        with self._store.errors():
            # A server that died after it had made a run, and before it said so, was asked again.
            self._store.terminate_children(parent_id, "KILLED")
            text = leaderboard.to_json(orient="split", index=False, double_precision=15)
            self._store.client.log_text(parent_id, text, name)
            self._store.log(winner_id, scores, tags={"winner": "true"})
            self._store.log(parent_id, {n: best[n] for n in METRICS} | scores, tags=tags)

    def load(self, run_id: str) -> Pipeline:
        """Return the pipeline that a combination's run has recorded."""
        with self._store.errors(), tempfile.TemporaryDirectory() as scratch:
            (output,) = self._store.client.get_run(run_id).outputs.model_outputs
            place = self._store.client.get_logged_model(output.model_id).artifact_location
            folder = mlflow.artifacts.download_artifacts(
                artifact_uri=place, dst_path=scratch, tracking_uri=self.uri
            )
            return mlflow.sklearn.load_model(folder)

    def _read(self, run: Run, claim: RunLock | None = None) -> PreviousTraining:
        run_id = run.info.run_id
        done = {
            one.info.run_name: TrackedRun(
                one.info.run_id,
                {str(name): one.data.metrics[name] for name in METRICS},
                one.data.metrics["fit_seconds"],
            )
            for one in self._store.below(run_id, "FINISHED")
        }
        scores = {
            str(name): run.data.metrics[f"test_{name}"]
            for name in METRICS
            if f"test_{name}" in run.data.metrics
        }
        return PreviousTraining(run_id, done, run.info.status == "FINISHED", scores, claim)

    def _claim(self, run: Run) -> RunLock | None:
        running = run.info.status == "RUNNING"
        return RunLock.take(self._locks, run.info.run_id, running, run.data.tags)

    def _begin(self, previous: PreviousTraining | None) -> tuple[str, RunLock]:
        """Return the run to train in, marked as going on and claimed."""
        tags = {FINGERPRINT_TAG: self._fingerprint, HEARTBEAT_TAG: heartbeat()}
        with self._store.errors():
            run_id = previous.run_id if previous else self._settings.tracking.run_id
            claim = previous.claim if previous else None
            if not run_id:
                run_id = self._store.create_run("grid", tags)
                claim = RunLock.take(self._locks, run_id, running=False, tags={})
            elif not claim:
                claim = self._claim(self._store.client.get_run(run_id))
            if not claim:
                raise TrackingError(f"another process is training in run {run_id}")
            self._store.client.update_run(run_id, "RUNNING")
            self._store.log(run_id, tags=tags)
        claim.keep(lambda: self._store.client.set_tag(run_id, HEARTBEAT_TAG, heartbeat()))
        return run_id, claim

    def _log_model(self, run_id: str, evaluated: EvaluatedPipeline, params: dict[str, str]) -> None:
        with self._store.errors():
            client = self._store.client
            number = self._store.experiment.experiment_id
            model = client.create_logged_model(number, MODEL, run_id, params=params)
            try:
                folder = self._models.write(evaluated.pipeline, evaluated.grid.family, model)
                client.log_model_artifacts(model.model_id, str(folder))
                client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
            except BaseException:
                with suppress(*MLFLOW_ERRORS), short_timeouts():
                    client.finalize_logged_model(model.model_id, "FAILED")
                raise
            client.finalize_logged_model(model.model_id, "READY")

    def _log_files(self, run_id: str, split: Split, test: Dataset | None) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            tables = {"train": split.train, "val": split.val} | ({"test": test} if test else {})
            for name, dataset in tables.items():
                # By a text that means nothing else: another one might be a category's name.
                gap = next(iter(self._settings.data.missing_values), "")
                dataset.table().to_csv(folder / f"{name}.csv", index=False, na_rep=gap)
            # Without the store's address: it is no part of the training, and may hold a password.
            shown = self._settings.model_dump_json(indent=2, exclude={"tracking"})
            (folder / "settings.json").write_text(shown)
            for part in CODE:
                _copy(PROJECT_ROOT / part, folder / "code" / part)
            self._store.client.log_artifacts(run_id, str(folder))
        digests = {"data.digest": split.digest} | (
            {"data.test_digest": test.digest} if test else {}
        )
        self._store.log(run_id, tags=digests)


class _Rows(PandasDataset):  # type: ignore[misc]
    """MLflow's dataset, without its slow look at each value for the schema and the digest."""

    def _compute_digest(self) -> str:
        hashes = pd.util.hash_pandas_object(self.df, index=False).to_numpy()
        return hashlib.sha256(hashes.tobytes()).hexdigest()[:8]  # as long as MLflow's own

    @property
    def schema(self) -> Schema:
        return infer_schema(self.df)


def _dataset_inputs(split: Split) -> list[DatasetInput]:
    with warnings.catch_warnings():  # that a path may be a local artifact's
        warnings.filterwarnings("ignore", category=UserWarning, module="mlflow")
        source = resolve_dataset_source(split.source)
    rows = {"training": ("train", split.train), "validation": ("val", split.val)}
    return [
        DatasetInput(
            DatasetEntity(**_Rows(part.table(), source, str(part.y.name), name).to_dict()),
            [InputTag("mlflow.data.context", context)],
        )
        for context, (name, part) in rows.items()
    ]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    elif source.exists():
        shutil.copy(source, target)
