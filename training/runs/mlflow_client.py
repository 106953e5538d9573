"""The MLflow client: one experiment of a tracking store, with errors in one line."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

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
from contract.training_job import JobVariable
from training.runs.call_thread import CallThread
from training.runs.tags import HOST_TAG

T = TypeVar("T")
MLFLOW_ERRORS = (MlflowException, SQLAlchemyError, OSError, ImportError)
"""What a store fails with; ImportError if the driver of its database isn't installed."""
PAGE_SIZE = 1000
SQLITE_TIMEOUT_SECONDS = 20
"""How long MLflow waits for a locked SQLite file, once it is open."""


class TrackingClient:
    """A client of a tracking store, with one experiment.

    Errors of the store are raised as a TrackingError inside `errors()`; its own exceptions don't
    leave this class. All calls run in a thread of their own (`CallThread`).
    """

    def __init__(self, settings: Settings, host: str = "") -> None:
        """Connect to the store, and create the experiment if it doesn't exist.

        Args:
            settings: The tracking store and the experiment's name.
            host: This host's name, if several hosts write to a training's runs. Its child runs
                have it as a tag, and runs of other hosts are not terminated after a failure.

        Raises:
            TrackingError: No store responds at the URI within seconds, or it refuses.
        """
        self.uri = settings.tracking_uri
        self._settings = settings
        self._calls = CallThread()
        self._host = host
        self._active_run_id = ""
        self._owns_active_run = False
        with self.errors():
            _create_parent_folder(self.uri)
            uri = _with_sqlite_timeout(self.uri)
            client = self.call(lambda: MlflowClient(tracking_uri=uri))
            self.client: Any = _ThreadedClient(client, self._calls)
            with short_timeouts():
                self.client.search_experiments(max_results=1)
            self.experiment = self._get_or_create_experiment(settings.tracking.run_id)
            self._tags = resolve_tags() | _git_commit_tag()

    @property
    def unqueued(self) -> MlflowClient:
        """The client for other threads than the main one, whose calls wait for no other call."""
        return self.client.wrapped

    def call(self, function: Callable[[], T]) -> T:
        """Run a function that uses the store in the thread of the store's calls."""
        return self._calls.call(function)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Raise what MLflow and its database raise as a TrackingError of one line."""
        try:
            yield
        except MLFLOW_ERRORS as error:
            name = self._settings.masked_tracking_uri  # without the password that it may contain
            reason = _reason(error).replace(self._settings.tracking.uri, name)
            raise TrackingError(f"tracking at {name}: {reason}") from error

    def create_run(
        self, name: str, tags: Mapping[str, str], started_at: float | None = None
    ) -> str:
        """Create a run and return its id.

        Args:
            name: The run's name.
            tags: In addition to MLflow's tags for the user, the source and the commit.
            started_at: In seconds since 1970; now by default.
        """
        milliseconds = None if started_at is None else int(started_at * 1000)
        everything = {**self._tags, **tags, **({HOST_TAG: self._host} if self._host else {})}
        experiment_id = self.experiment.experiment_id
        with self.errors():
            run = self.client.create_run(experiment_id, milliseconds, everything, name)
            return str(run.info.run_id)

    def create_active_run(self, name: str, tags: Mapping[str, str]) -> str:
        """Create the run that `terminate_on_failure` terminates; return its id."""
        everything = {**self._tags, **tags}

        def create() -> str:
            # In one call: an interrupt can't separate the run from the record of it.
            client, experiment_id = self.client.wrapped, self.experiment.experiment_id
            run_id = str(client.create_run(experiment_id, None, everything, name).info.run_id)
            self._active_run_id, self._owns_active_run = run_id, True
            return run_id

        with self.errors():
            return self.call(create)

    def resume_run(self, run_id: str) -> None:
        """Set a run RUNNING again, as the one that `terminate_on_failure` terminates."""

        def resume() -> None:
            self.client.wrapped.update_run(run_id, "RUNNING")
            self._active_run_id, self._owns_active_run = run_id, True

        with self.errors():
            self.call(resume)

    def join_run(self, run_id: str) -> None:
        """Make a run of another host the active one: only this host's children are terminated."""
        self._active_run_id, self._owns_active_run = run_id, False

    def finish_active_run(self) -> None:
        """Set the active run FINISHED."""
        with self.errors():
            self._terminate_active_run("FINISHED")

    @contextmanager
    def terminate_on_failure(self) -> Iterator[None]:
        """On an exception, set the active run and this host's running children of it FAILED.

        After an interrupt they are KILLED. A run of another host stays as it is.
        """
        try:
            yield
        except BaseException as error:
            status = "FAILED" if isinstance(error, Exception) else "KILLED"
            # The store may be what failed: its timeouts are short, and the first error is raised.
            with suppress(*MLFLOW_ERRORS), short_timeouts():
                self._calls.recover()
                if self._active_run_id:
                    self.terminate_children(self._active_run_id, status, self._host)
                    if self._owns_active_run:
                        self._terminate_active_run(status)
            raise

    def terminate_children(self, run_id: str, status: str, host: str = "") -> None:
        """Set the running children of a run to a status, and their models FAILED.

        Args:
            run_id: The parent run.
            status: The status, `KILLED` or `FAILED`.
            host: The host whose children are meant; empty for those of all hosts.
        """
        for run in self.child_runs(run_id, "RUNNING"):
            if host and run.data.tags.get(HOST_TAG) != host:
                continue
            for model in self.client.search_logged_models(
                [self.experiment.experiment_id], f"source_run_id = '{run.info.run_id}'"
            ):
                self.client.finalize_logged_model(model.model_id, "FAILED")
            self.client.set_terminated(run.info.run_id, status)

    def child_runs(self, run_id: str, status: str) -> Sequence[Run]:
        """Return the child runs of a run that have a status."""
        parent = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{run_id}'"
        return self.search_runs(f"{parent} and attributes.status = '{status}'")

    def search_runs(self, query: str) -> Sequence[Run]:
        """Return all runs of the experiment that match a filter, the latest first."""
        found: list[Run] = []
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment.experiment_id],
                query,
                max_results=PAGE_SIZE,
                order_by=["attributes.start_time DESC"],
                page_token=token,
            )
            found += page
            token = page.token
            if not token:
                return found

    def log_batch(
        self,
        run_id: str,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log metrics, parameters and tags in one request."""
        now = int(time.time() * 1000)
        self.client.log_batch(
            run_id,
            [Metric(name, float(value), now, 0) for name, value in (metrics or {}).items()],
            [Param(name, str(value)) for name, value in (params or {}).items()],
            [RunTag(name, value) for name, value in (tags or {}).items()],
        )

    def _terminate_active_run(self, status: str) -> None:
        def terminate() -> None:
            self.client.wrapped.set_terminated(self._active_run_id, status)
            self._active_run_id = ""

        self.call(terminate)

    def _get_or_create_experiment(self, run_id: str) -> Experiment:
        if run_id:
            return self.client.get_experiment(self.client.get_run(run_id).info.experiment_id)
        name = self._settings.training.experiment
        experiment = self.client.get_experiment_by_name(name)
        if experiment is None:
            is_local = self.uri.startswith("sqlite:")
            artifact_root = self._settings.artifact_root if is_local else None
            return self.client.get_experiment(self._create_experiment(name, artifact_root))
        if experiment.lifecycle_stage != "active":
            raise TrackingError(f"experiment {name!r} was deleted: restore it, or set another name")
        return experiment

    def _create_experiment(self, name: str, artifact_root: str | None) -> str:
        try:
            return str(self.client.create_experiment(name, artifact_root))
        except MlflowException:
            # Another training may have created it in the meantime.
            experiment = self.client.get_experiment_by_name(name)
            if experiment is None:
                raise
            return str(experiment.experiment_id)


class _ThreadedClient:
    """An MlflowClient whose methods run in a CallThread."""

    def __init__(self, wrapped: MlflowClient, calls: CallThread) -> None:
        self.wrapped = wrapped
        self._calls = calls

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.wrapped, name)

        def call(*arguments: object, **options: object) -> object:
            return self._calls.call(partial(method, *arguments, **options))

        return call


@contextmanager
def short_timeouts() -> Iterator[None]:
    """Try a request twice, ten seconds each at most: MLflow's defaults take many minutes."""
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


def _reason(error: BaseException) -> str:
    """Return in one line why a store failed.

    An interrupt for which a library has raised an error of its own is raised instead.
    """
    chain = [error]
    while (cause := chain[-1].__context__) is not None:
        chain.append(cause)
    for cause in chain:
        if not isinstance(cause, Exception):
            raise cause
    if any(isinstance(cause, requests.ConnectionError | requests.Timeout) for cause in chain):
        # Its own text nests several errors, of which the innermost names the reason.
        return f"no response: {getattr(chain[-1], 'strerror', None) or chain[-1]}"
    lines = str(getattr(error, "message", error)).strip().splitlines()
    return lines[0] if lines else repr(error)


def _git_commit_tag() -> dict[str, str]:
    # MLflow reads the commit of the script that was started; the code that trains is here. An image
    # contains no repository: its job is told the commit.
    commit = get_git_commit(str(PROJECT_ROOT)) or os.environ.get(JobVariable.GIT_COMMIT)
    return {MLFLOW_GIT_COMMIT: commit} if commit else {}


def _create_parent_folder(uri: str) -> None:
    scheme, _, path = uri.partition(":///")
    if uri == "sqlite://" or path.endswith(":memory:"):
        raise TrackingError("tracking.uri: an in-memory store would be lost with the process")
    if scheme == "sqlite":
        Path(path).parent.mkdir(parents=True, exist_ok=True)


def _with_sqlite_timeout(uri: str) -> str:
    """Return a URI that makes opening a locked SQLite file wait as long as later calls do."""
    if not uri.startswith("sqlite:"):
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}timeout={SQLITE_TIMEOUT_SECONDS}"
