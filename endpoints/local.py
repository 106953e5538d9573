"""This machine as a target: processes or containers, and their folders in `.local/endpoints/`.

One router receives the requests of all clients. Behind it each endpoint has a live backend and the
previous one, which keeps running so that a rollback only replaces the state file. No supervisor
watches them: `status` and the next deployment find what has stopped, and restart it.
"""

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

from contract.errors import EndpointError, StackError
from contract.release import Release
from contract.response_attributes import HEADER
from contract.settings.loader import Settings
from endpoints import client, processes
from endpoints.backends import Backends, check_predictions, http_request, remove_containers
from endpoints.ports import HOST
from endpoints.router_process import RouterProcess
from endpoints.state import (
    STATE_FILE,
    Backend,
    BackendType,
    State,
    load_state,
    save_state,
    utc_now,
)
from endpoints.target import (
    JSON,
    Deployment,
    DeploymentResult,
    InvocationResponse,
    Status,
    Target,
)

if TYPE_CHECKING:
    import psutil

    from contract.release_store import ReleaseStore
    from training.result import Progress, TrainingResult

logger = logging.getLogger(__name__)

BUSY_MESSAGE = (
    "another deployment, rollback or teardown is in progress; try again when it has finished"
)
NOT_DEPLOYED = "nothing is deployed; run make deploy-endpoint"


class LocalTarget(Target):
    """Processes, or containers, that serve on 127.0.0.1."""

    def __init__(self, settings: Settings, backend_type: BackendType | None = None) -> None:
        """Configure the target; nothing is read or started yet.

        Args:
            settings: Name the endpoint, its port and the release store.
            backend_type: How a deployment runs. By default it has the type of the live one, and
                the first deployment is a process.
        """
        self.settings = settings
        self._backend_type = backend_type
        self._name = settings.serving.endpoint
        self._endpoints_folder = settings.root / ".local" / "endpoints"
        self._folder = self._endpoints_folder / self._name
        self._origin = f"http://{HOST}:{settings.serving.port}"
        self._path = f"/endpoints/{self._name}/invocations"
        self._url = f"{self._origin}{self._path}"
        self._router = RouterProcess(self._endpoints_folder, settings.serving.port)
        self._backends = Backends(self._folder, settings.serving)

    def train(self, progress: "Progress", force: bool = False) -> "TrainingResult":
        """Train in this process, with a worker process that fits the models; see `Target`."""
        from training.search.worker import Worker  # noqa: PLC0415 - loaded as late as possible

        # The libraries take seconds to load: this process loads them while the worker does.
        with Worker() as worker:
            from training.train import train  # noqa: PLC0415

            return train(self.settings, progress, worker, force)

    def release(self, model: str | None = None) -> Release:
        """Export, check and store a tracked model; see `Target`."""
        from training.release import release  # noqa: PLC0415 - slow to load

        return release(self.settings, model)

    def deploy(self, version: str | None = None, model: str | None = None) -> DeploymentResult:
        """Start a backend beside the live one, check it, and switch the traffic; see `Target`."""
        if version and model:
            raise EndpointError("pass either a version or a model, not both")
        with self._locked(), self._cleanup_on_failure():
            self._router.start()
            state = self._state_or_empty()
            store, version = self._select_release(version, model)
            _, digest = store.load_manifest(version)
            backend_type = self._select_backend_type(state)
            live, previous = state.live, state.live
            if live and self._is_current(live, digest, backend_type):
                if self._backends.is_healthy(live):
                    return self._keep_live(state)
                logger.info("%s is live, but does not respond; replacing its server", live.name)
                previous = state.previous
            logger.info("Starting %s version %s", store.model, version)
            new = self._backends.start(store, version, backend_type)
            self._router.wait()
            logger.info("Its predictions match the release; switching traffic to it")
            state = self._switch_traffic(state, State(live=new, previous=previous))
            self._backends.remove_unreferenced(state)
        return self._result(state, changed=True)

    def rollback(self) -> DeploymentResult:
        """Switch the traffic to the previous backend, which still runs; see `Target`."""
        if not self._endpoints_folder.exists():
            raise EndpointError(f"{self._name}: {NOT_DEPLOYED}")
        with self._locked(), self._cleanup_on_failure():
            state = load_state(self._folder)
            live, previous = state.live, state.previous
            if previous is None:
                reason = "there is no previous release to roll back to" if live else NOT_DEPLOYED
                raise EndpointError(f"{self._name}: {reason}")
            self._router.start()
            if not self._backends.is_healthy(previous):
                logger.info("%s does not respond; restarting it", previous.name)
                previous = self._backends.restart(previous)
            self._router.wait()
            restored = previous.model_copy(update={"live_since": utc_now()})
            state = self._switch_traffic(state, State(live=restored, previous=live))
        return self._result(state, changed=True)

    def status(self) -> Status:
        """Check the router and both backends, and restart what has stopped; see `Target`.

        While a deployment is in progress nothing is restarted.
        """
        if not self._endpoints_folder.exists():
            return Status(self._name, self._url, None, None, (), ())
        repaired: list[str] = []
        problems: list[str] = []
        state = State()
        try:
            # Loaded before the lock as well: a deployment in progress holds it.
            state = load_state(self._folder)
            with self._locked():
                state = load_state(self._folder)
                if state.live:
                    repaired += self._restart_unhealthy_router()
                    state, restarted, failed = self._restart_unhealthy(state)
                    repaired += restarted
                    problems += failed
                elif processes.find_by_folder(self._folder):
                    reason = "is missing, but servers are running; run make teardown to stop them"
                    problems.append(f"{self._folder / STATE_FILE} {reason}")
        except BusyError:
            if state.live and not self._router.is_healthy():
                problems.append(f"no response from {self._origin}")
        except StackError as error:
            problems.append(str(error))
        live, previous = (self._deployment(backend) for backend in (state.live, state.previous))
        return Status(self._name, self._url, live, previous, tuple(repaired), tuple(problems))

    def invoke(
        self, body: bytes, content_type: str = JSON, accept: str = JSON
    ) -> InvocationResponse:
        """Invoke the endpoint with boto3, as on AWS; see `Target`."""
        with closing(client.create_local_client(self._origin)) as runtime:
            return client.invoke(runtime, self._name, body, content_type, accept)

    def teardown(self) -> tuple[str, ...]:
        """Stop the router and all backends, and remove `.local/endpoints`; see `Target`.

        Processes and containers are found by their markers and labels, even if the state files are
        lost.
        """
        if not self._endpoints_folder.exists() and not self._find_all_processes():
            return ()
        removed = []
        with self._locked():
            found = self._find_all_processes()
            # The router first, so that it sends no request to a backend that is being stopped.
            self._router.stop()
            if not processes.stop(self._find_all_processes()):
                pids = ", ".join(str(process.pid) for process in self._find_all_processes())
                raise EndpointError(f"processes of the endpoints can't be stopped: {pids}")
            containers = remove_containers(self._endpoints_folder)
            folders = [path for path in self._endpoints_folder.iterdir() if path.is_dir()]
            removed += [f"endpoint {folder.name}" for folder in folders]
            removed += [_count(len(found), "process", "es")] if found else []
            removed += [_count(containers, "container", "s")] if containers else []
            try:
                shutil.rmtree(self._endpoints_folder)
            except OSError as error:
                raise EndpointError(f"{self._endpoints_folder}: {error.strerror}") from None
        return tuple(removed)

    def _select_release(self, version: str | None, model: str | None) -> "tuple[ReleaseStore, str]":
        """Return the release store and the version to deploy; release the model first if passed."""
        # Loaded late, with its AWS SDK: other commands don't use it.
        from contract.release_store import ReleaseStore  # noqa: PLC0415

        uri = self.settings.resolve_path(self.settings.release.store)
        store = ReleaseStore(uri, self.settings.release.model)
        if model:
            logger.info("Releasing %s", model)
            return store, self.release(model).manifest.version
        version = version or store.get_champion()
        if version is None:
            raise EndpointError(f"{store.model}: nothing is released yet; run make release")
        return store, version

    def _select_backend_type(self, state: State) -> BackendType:
        if self._backend_type:
            return self._backend_type
        return state.live.type if state.live else BackendType.PROCESS

    def _is_current(self, live: Backend, digest: str, backend_type: BackendType) -> bool:
        """Return whether the live backend serves this release, on the current code and settings."""
        if (live.digest, live.type) != (digest, backend_type):
            return False
        return live.server_digest == self._backends.server_digest(backend_type)

    def _keep_live(self, state: State) -> DeploymentResult:
        """Keep the live backend, and restart the previous one if it has stopped."""
        self._router.wait()
        state, repaired, problems = self._restart_unhealthy(state)
        for line in repaired:
            logger.info("Repaired: %s", line)
        for line in problems:
            logger.warning("%s", line)
        return self._result(state, changed=False)

    def _switch_traffic(self, before: State, after: State) -> State:
        """Switch the traffic; switch it back if the new backend can't be reached by the router."""
        save_state(self._folder, after)
        try:
            self._check_live(after)
        except BaseException:
            save_state(self._folder, before)
            raise
        return after

    def _check_live(self, state: State) -> None:
        """Send a check row to the live backend, through the router."""
        if state.live is None:
            return
        check = self._backends.load_check(state.live)
        body = client.rows_to_json(check["rows"][:1])
        status, headers, content = http_request(self.settings.serving.port, self._path, body)
        text = content.decode(errors="replace")
        if status != 200:
            raise EndpointError(f"{self._url}: {text[:200]}")
        check_predictions(state.live, check["predictions"][:1], headers.get(HEADER, ""), text)

    def _restart_unhealthy_router(self) -> list[str]:
        if self._router.is_healthy():
            return []
        self._router.start()
        self._router.wait()
        return [f"the router at {self._origin} did not respond; restarted it"]

    def _restart_unhealthy(self, state: State) -> tuple[State, list[str], list[str]]:
        """Restart backends that do not respond.

        Returns:
            The new state, one line per restarted backend, and one line per failure.
        """
        repaired, problems = [], []
        for role in ("live", "previous"):
            backend: Backend | None = getattr(state, role)
            if backend is None or self._backends.is_healthy(backend):
                continue
            name = f"{role}: {backend.name} ({self._backends.compute(backend)})"
            try:
                restarted = self._backends.restart(backend)
            except StackError as error:
                problems.append(f"{name} does not respond, and can't be restarted: {error}")
                continue
            state = state.model_copy(update={role: restarted})
            save_state(self._folder, state)
            compute = self._backends.compute(restarted)
            repaired.append(f"{name} did not respond; restarted it as {compute}")
        if repaired or problems:
            self._backends.remove_unreferenced(state)
        return state, repaired, problems

    def _result(self, state: State, changed: bool) -> DeploymentResult:
        live, previous = self._deployment(state.live), self._deployment(state.previous)
        if live is None:
            raise EndpointError(f"{self._name}: {NOT_DEPLOYED}")
        return DeploymentResult(self._name, self._url, live, previous, changed)

    def _deployment(self, backend: Backend | None) -> Deployment | None:
        if backend is None:
            return None
        return Deployment(
            model=backend.model,
            version=backend.version,
            digest=backend.digest,
            live_since=backend.live_since,
            started_at=backend.started_at,
            compute=self._backends.compute(backend),
            healthy=self._backends.is_healthy(backend),
        )

    def _find_all_processes(self) -> list["psutil.Process"]:
        """Return the processes of all endpoints of the project, with the router."""
        return processes.find_by_folder(self._endpoints_folder, recursive=True)

    def _state_or_empty(self) -> State:
        try:
            return load_state(self._folder)
        except EndpointError as error:
            logger.warning("%s", error)
            return State()

    @contextmanager
    def _cleanup_on_failure(self) -> Iterator[None]:
        """On a failure or an interrupt, remove everything that the state does not reference."""
        try:
            yield
        except BaseException:
            # Nothing is removed if the state can't be read: it may reference the live backend.
            with suppress(EndpointError):
                state = load_state(self._folder)
                self._backends.remove_unreferenced(state)
                if state.live is None:
                    self._remove_empty_folders()
            raise

    def _remove_empty_folders(self) -> None:
        """Remove the endpoint's folder, and the router with the last endpoint."""
        shutil.rmtree(self._folder, ignore_errors=True)
        if not any(path.is_dir() for path in self._endpoints_folder.iterdir()):
            self._router.stop()
            shutil.rmtree(self._endpoints_folder, ignore_errors=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock for changing endpoints; the system releases it when the process exits."""
        file = self._endpoints_folder / "lock"
        self._endpoints_folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # A teardown may have removed the file in between: then the lock protects nothing.
                acquired = os.fstat(handle).st_ino == file.stat().st_ino
            except OSError:
                acquired = False
            if not acquired:
                raise BusyError(BUSY_MESSAGE)
            yield
        finally:
            os.close(handle)


class BusyError(EndpointError):
    """Another command is changing the endpoints."""


def _count(number: int, noun: str, plural: str) -> str:
    return f"{number} {noun}{plural if number > 1 else ''}"
