"""The tracking store: MLflow's client, opened, with its errors made ours."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import requests
from mlflow import MlflowClient, MlflowException
from mlflow.entities import Experiment, Metric, Param, Run, RunTag
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.git_utils import get_git_commit
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_PARENT_RUN_ID
from sqlalchemy.exc import SQLAlchemyError

from contract.errors import TrackingError
from contract.paths import PROJECT_ROOT
from contract.settings.loader import Settings

MLFLOW_ERRORS = (MlflowException, SQLAlchemyError, OSError, ImportError)
"""What a store fails with; the last where it is a database whose driver isn't installed."""
PAGE = 1000
LOCKED_SECONDS = 20
"""How long MLflow waits for a locked sqlite file, once it is open."""


class TrackingClient:
    """A tracking store with one experiment open.

    What goes wrong with it inside `errors()` is a TrackingError; its own errors don't leave here.
    """

    def __init__(self, settings: Settings) -> None:
        """Open the store and the experiment, which is made where it is not there.

        Raises:
            TrackingError: No store answers at the URI within seconds, or it refuses.
        """
        self.uri = settings.tracking_uri
        self._settings = settings
        with self.errors():
            _make_folder(self.uri)
            self.client = MlflowClient(tracking_uri=_patient(self.uri))
            with short_timeouts():
                self.client.search_experiments(max_results=1)
            self.experiment = self._open_experiment(settings.tracking.run_id)
            self._tags = resolve_tags() | _commit()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what MLflow and its database raise into a TrackingError of one line."""
        try:
            yield
        except MLFLOW_ERRORS as error:
            name = self._settings.masked_tracking_uri  # without the password that the URI may hold
            reason = _reason(error).replace(self._settings.tracking.uri, name)
            raise TrackingError(f"tracking at {name}: {reason}") from error

    def create_run(self, name: str, tags: Mapping[str, str], began: float | None = None) -> str:
        """Begin a run and return its id.

        Args:
            name: What a person reads.
            tags: In addition to what MLflow says of the user, the source and the commit.
            began: When, in seconds since 1970; now by default.
        """
        milliseconds = None if began is None else int(began * 1000)
        everything = {**self._tags, **tags}
        with self.errors():
            number = self.experiment.experiment_id
            return str(self.client.create_run(number, milliseconds, everything, name).info.run_id)

    @contextmanager
    def terminating(self, run_id: str) -> Iterator[None]:
        """End a run on leaving: FINISHED, KILLED after an interrupt, else FAILED.

        Runs below it that began and didn't end are marked as KILLED then.
        """
        try:
            yield
        except BaseException as error:
            # The store may be what failed: it is asked briefly, and the first error counts.
            with suppress(*MLFLOW_ERRORS), short_timeouts():
                status = "FAILED" if isinstance(error, Exception) else "KILLED"
                self.terminate_children(run_id, status)
                self.client.set_terminated(run_id, status)
            raise
        with self.errors():
            self.client.set_terminated(run_id)

    def terminate_children(self, run_id: str, status: str) -> None:
        """Mark the runs below a run that began and didn't end, and the models of theirs."""
        for run in self.below(run_id, "RUNNING"):
            for model in self.client.search_logged_models(
                [self.experiment.experiment_id], f"source_run_id = '{run.info.run_id}'"
            ):
                self.client.finalize_logged_model(model.model_id, "FAILED")
            self.client.set_terminated(run.info.run_id, status)

    def below(self, run_id: str, status: str) -> Sequence[Run]:
        """Return the runs below a run that have this status."""
        parent = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{run_id}'"
        return self.search(f"{parent} and attributes.status = '{status}'")

    def search(self, query: str) -> Sequence[Run]:
        """Return all runs that match, the latest first."""
        found: list[Run] = []
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment.experiment_id],
                query,
                max_results=PAGE,
                order_by=["attributes.start_time DESC"],
                page_token=token,
            )
            found += page
            token = page.token
            if not token:
                return found

    def log(
        self,
        run_id: str,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Record figures, parameters and tags in one request."""
        now = int(time.time() * 1000)
        self.client.log_batch(
            run_id,
            [Metric(name, float(value), now, 0) for name, value in (metrics or {}).items()],
            [Param(name, str(value)) for name, value in (params or {}).items()],
            [RunTag(name, value) for name, value in (tags or {}).items()],
        )

    def _open_experiment(self, run_id: str) -> Experiment:
        if run_id:
            return self.client.get_experiment(self.client.get_run(run_id).info.experiment_id)
        name = self._settings.training.experiment
        experiment = self.client.get_experiment_by_name(name)
        if experiment is None:
            place = self._settings.artifact_root if self.uri.startswith("sqlite:") else None
            return self.client.get_experiment(self._create_experiment(name, place))
        if experiment.lifecycle_stage != "active":
            raise TrackingError(f"experiment {name!r} was deleted: restore it, or name another")
        return experiment

    def _create_experiment(self, name: str, place: str | None) -> str:
        try:
            return str(self.client.create_experiment(name, place))
        except MlflowException:
            # Another training may have made it in the meantime.
            experiment = self.client.get_experiment_by_name(name)
            if experiment is None:
                raise
            return str(experiment.experiment_id)


def _reason(error: BaseException) -> str:
    """Say in one line what a store failed with.

    An interrupt that a library answered with an error of its own is raised instead.
    """
    chain = [error]
    while (behind := chain[-1].__context__) is not None:
        chain.append(behind)
    for one in chain:
        if not isinstance(one, Exception):
            raise one
    if any(isinstance(one, requests.ConnectionError | requests.Timeout) for one in chain):
        # Its own text has several errors inside each other, of which the innermost says it all.
        return f"no answer: {getattr(chain[-1], 'strerror', None) or chain[-1]}"
    lines = str(getattr(error, "message", error)).strip().splitlines()
    return lines[0] if lines else repr(error)


def _commit() -> dict[str, str]:
    # MLflow asks for the commit of whatever script was started; the code that trains is here.
    commit = get_git_commit(str(PROJECT_ROOT))
    return {MLFLOW_GIT_COMMIT: commit} if commit else {}


def _make_folder(uri: str) -> None:
    scheme, _, path = uri.partition(":///")
    if uri == "sqlite://" or path.endswith(":memory:"):
        raise TrackingError("tracking.uri: a store in memory would be lost with the process")
    if scheme == "sqlite":
        Path(path).parent.mkdir(parents=True, exist_ok=True)


def _patient(uri: str) -> str:
    """Return a URI by which a locked sqlite file is waited for at opening too, as later on."""
    if not uri.startswith("sqlite:"):
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}timeout={LOCKED_SECONDS}"


@contextmanager
def short_timeouts() -> Iterator[None]:
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
