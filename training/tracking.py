"""The record in MLflow: one parent run a training, one child run a combination."""

import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import mlflow.data
import pandas as pd
from mlflow import MlflowClient, MlflowException
from mlflow.entities import (
    Dataset as DatasetEntity,
)
from mlflow.entities import (
    DatasetInput,
    Experiment,
    InputTag,
    LoggedModelOutput,
    Metric,
    Param,
)
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.git_utils import get_git_commit
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_PARENT_RUN_ID
from sqlalchemy.exc import SQLAlchemyError

from contract.errors import TrackingError
from contract.settings import PROJECT, Settings
from training.data import Dataset, Split
from training.grid import Candidate
from training.models import ModelWriter

MODEL = "model"
"""The models' name in their runs: `runs:/<id>/model`."""
CODE = ("contract", "training", "scripts", "pyproject.toml", "requirements/train.txt")


STORE_ERRORS = (MlflowException, SQLAlchemyError, OSError, ImportError)
"""What a store fails with; the last where it is a database whose driver isn't installed."""


class Tracker:
    """One training's entries in the tracking store.

    What goes wrong with the store is a TrackingError; the store's own errors don't leave here.
    """

    def __init__(self, settings: Settings) -> None:
        """Open the store and the experiment, which is made where it is not there.

        Raises:
            TrackingError: No store answers at the URI within seconds, or it refuses.
        """
        self.uri = settings.store_uri
        self._settings = settings
        with self._errors():
            _make_folder(self.uri)
            self._client = MlflowClient(tracking_uri=self.uri)
            with _impatient():
                self._client.search_experiments(max_results=1)
            self.experiment = self._open_experiment(settings.tracking.run_id)
            self._tags = resolve_tags() | _commit()

    @contextmanager
    def parent(self, split: Split, test: Dataset | None) -> Iterator[str]:
        """Enter the run that holds the combinations' runs and what they share; yield its id.

        It ends as FINISHED, as KILLED where the training was interrupted, else as FAILED.
        """
        with self._run("grid", {}, self._settings.tracking.run_id) as run_id:
            self._inputs = _dataset_inputs(split)
            self._models = ModelWriter(split)
            with self._errors():
                self._client.log_inputs(run_id, self._inputs)
                self._log_files(run_id, split, test)
            yield run_id

    def log_candidate(self, candidate: Candidate, parent_id: str) -> str:
        """Record a combination with its model in a run of its own; return the run's id."""
        began = int((time.time() - candidate.seconds) * 1000)
        params = {"family": candidate.grid.name, **candidate.params}
        with self._run(candidate.name, {MLFLOW_PARENT_RUN_ID: parent_id}, began=began) as run_id:
            figures: dict[str, float] = {**candidate.metrics, "fit_seconds": candidate.seconds}
            with self._errors():
                self._log(run_id, figures, params)
                self._client.log_inputs(run_id, self._inputs)
            self._log_model(run_id, candidate, {key: str(value) for key, value in params.items()})
        return run_id

    def log_result(
        self, parent_id: str, leaderboard: pd.DataFrame, winner_id: str, test: Mapping[str, float]
    ) -> None:
        """Record the leaderboard, the winner and its score on the test rows ({} where none are)."""
        best = leaderboard.iloc[0]
        figures = {f"test_{name}": value for name, value in test.items()}
        with self._errors():
            self._client.log_table(parent_id, leaderboard, "leaderboard.json")
            self._log(winner_id, figures, {})
            self._log(parent_id, {n: best[n] for n in ("RMSE", "MAPE", "R2")} | figures, {})
            self._client.set_tag(winner_id, "winner", "true")
            self._client.set_tag(parent_id, "winner", winner_id)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what MLflow and its database raise into a TrackingError of one line."""
        try:
            yield
        except STORE_ERRORS as error:
            _raise_interrupt_behind(error)
            lines = str(getattr(error, "message", error)).strip().splitlines() or [repr(error)]
            name = self._settings.store_name  # without the password that the URI may hold
            reason = lines[0].replace(self._settings.tracking.uri, name)
            raise TrackingError(f"tracking at {name}: {reason}") from error

    @contextmanager
    def _run(
        self, name: str, tags: Mapping[str, str], run_id: str = "", began: int | None = None
    ) -> Iterator[str]:
        with self._errors():
            run_id = run_id or self._create_run(name, tags, began)
        try:
            yield run_id
        except BaseException as error:
            # The store may be what failed: it is asked briefly, and the first error counts.
            with suppress(*STORE_ERRORS), _impatient():
                self._end(run_id, "FAILED" if isinstance(error, Exception) else "KILLED")
            raise
        with self._errors():
            self._client.set_terminated(run_id)

    def _end(self, run_id: str, status: str) -> None:
        """End a run, and those below it that an interrupt left before their id was known here."""
        below = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{run_id}' and attributes.status = 'RUNNING'"
        for run in self._client.search_runs([self.experiment.experiment_id], below):
            self._client.set_terminated(run.info.run_id, status)
        self._client.set_terminated(run_id, status)

    def _create_run(self, name: str, tags: Mapping[str, str], began: int | None) -> str:
        everything = {**self._tags, **tags}
        run = self._client.create_run(self.experiment.experiment_id, began, everything, name)
        return str(run.info.run_id)

    def _log(self, run_id: str, metrics: Mapping[str, float], params: Mapping[str, object]) -> None:
        now = int(time.time() * 1000)
        self._client.log_batch(
            run_id,
            [Metric(name, float(value), now, 0) for name, value in metrics.items()],
            [Param(name, str(value)) for name, value in params.items()],
        )

    def _log_model(self, run_id: str, candidate: Candidate, params: dict[str, str]) -> None:
        with self._errors(), tempfile.TemporaryDirectory() as scratch:
            model = self._client.create_logged_model(
                self.experiment.experiment_id, MODEL, run_id, params=params
            )
            folder = Path(scratch) / MODEL
            try:
                self._models.write(candidate.pipeline, candidate.grid.family, model, folder)
                self._client.log_model_artifacts(model.model_id, str(folder))
                self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
            except BaseException:
                with suppress(*STORE_ERRORS), _impatient():
                    self._client.finalize_logged_model(model.model_id, "FAILED")
                raise
            self._client.finalize_logged_model(model.model_id, "READY")

    def _log_files(self, run_id: str, split: Split, test: Dataset | None) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            tables = {"train": split.train, "val": split.val} | ({"test": test} if test else {})
            for name, dataset in tables.items():
                dataset.table().to_csv(folder / f"{name}.csv", index=False, na_rep="NA")
            # Without the store's address: it is no part of the training, and may hold a password.
            shown = self._settings.model_dump_json(indent=2, exclude={"tracking"})
            (folder / "settings.json").write_text(shown)
            for part in CODE:
                _copy(PROJECT / part, folder / "code" / part)
            self._client.log_artifacts(run_id, str(folder))
        digests = {"data.digest": split.digest} | (
            {"data.test_digest": test.digest} if test else {}
        )
        for key, digest in digests.items():
            self._client.set_tag(run_id, key, digest)

    def _open_experiment(self, run_id: str) -> Experiment:
        if run_id:
            return self._client.get_experiment(self._client.get_run(run_id).info.experiment_id)
        name = self._settings.training.experiment
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            place = self._settings.artifact_root if self.uri.startswith("sqlite:") else None
            return self._client.get_experiment(self._client.create_experiment(name, place))
        if experiment.lifecycle_stage != "active":
            raise TrackingError(f"experiment {name!r} was deleted: restore it, or name another")
        return experiment


def _raise_interrupt_behind(error: BaseException) -> None:
    """Raise the interrupt that a library answered with an error of its own, if there was one."""
    behind: BaseException | None = error
    while behind is not None:
        if not isinstance(behind, Exception):
            raise behind
        behind = behind.__context__


def _commit() -> dict[str, str]:
    # MLflow asks for the commit of whatever script was started; the code that trains is here.
    commit = get_git_commit(str(PROJECT))
    return {MLFLOW_GIT_COMMIT: commit} if commit else {}


def _dataset_inputs(split: Split) -> list[DatasetInput]:
    inputs = []
    for name, context, part in (
        ("train", "training", split.train),
        ("val", "validation", split.val),
    ):
        with warnings.catch_warnings():
            # Of whole-number columns, as in ModelWriter; and that a path may be a local artifact's.
            warnings.filterwarnings("ignore", category=UserWarning, module="mlflow")
            dataset = mlflow.data.from_pandas(
                part.table(), source=part.source, targets=str(part.y.name), name=name
            )
            entity = DatasetEntity(**dataset.to_dict())
        inputs.append(DatasetInput(entity, [InputTag("mlflow.data.context", context)]))
    return inputs


def _make_folder(uri: str) -> None:
    scheme, _, path = uri.partition(":///")
    if uri == "sqlite://" or path.endswith(":memory:"):
        raise TrackingError("tracking.uri: a store in memory would be lost with the process")
    if scheme == "sqlite":
        Path(path).parent.mkdir(parents=True, exist_ok=True)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    elif source.exists():
        shutil.copy(source, target)


@contextmanager
def _impatient() -> Iterator[None]:
    """Ask a server twice, ten seconds each at most: MLflow's own patience is many minutes."""
    limits = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
    before = {name: os.environ.get(name) for name in limits}
    os.environ.update(limits)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
