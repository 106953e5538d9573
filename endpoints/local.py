"""This machine as a target: processes and folders under `.local/endpoints/`.

One front listens for clients; behind it each endpoint has a live server and the former one, which
goes on running so that a rollback is a rename. Nothing here supervises: what died is found and
mended by `status`, and by the next deployment.
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
from contract.release_store import ReleaseStore
from contract.response_attributes import HEADER
from contract.settings.loader import Settings
from endpoints import client, processes
from endpoints.backends import Backends, ask, remove_containers, verify
from endpoints.ports import HOST
from endpoints.router_process import RouterProcess
from endpoints.state import (
    STATE,
    Backend,
    BackendType,
    State,
    load_state,
    now,
    save_state,
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
    from training.result import Progress, TrainingResult

logger = logging.getLogger(__name__)

BUSY = "another deployment, rollback or teardown is under way here; try again when it has ended"
NOTHING = "nothing is deployed; make deploy-endpoint does it"


class LocalTarget(Target):
    """Processes, or containers, on 127.0.0.1."""

    def __init__(self, settings: Settings, backend_type: BackendType | None = None) -> None:
        """Look at nothing yet.

        Args:
            settings: Name the endpoint, its port and the release store.
            backend_type: What a deployment runs as. By default what is live stays what it is, and the
                first one is a process.
        """
        self.settings = settings
        self._backend_type = backend_type
        self._name = settings.serving.endpoint
        self._home = settings.root / ".local" / "endpoints"
        self._folder = self._home / self._name
        self._origin = f"http://{HOST}:{settings.serving.port}"
        self._path = f"/endpoints/{self._name}/invocations"
        self._url = f"{self._origin}{self._path}"
        self._router = RouterProcess(self._home, settings.serving.port)
        self._backends = Backends(self._folder, settings.serving)

    def train(self, progress: "Progress", force: bool = False) -> "TrainingResult":
        """Train in this process, with a worker process that fits; see `Target`."""
        from training.search.worker import Worker  # noqa: PLC0415 - as late as possible

        # The libraries take seconds to load: here, while the worker loads its own.
        with Worker() as worker:
            from training.train import train  # noqa: PLC0415

            return train(self.settings, progress, worker, force)

    def release(self, model: str | None = None) -> Release:
        """Export, check and store a tracked model; see `Target`."""
        from training.release import release  # noqa: PLC0415 - slow to load

        return release(self.settings, model)

    def deploy(self, version: str | None = None, model: str | None = None) -> DeploymentResult:
        """Start a server beside the live one, check it, and let the front ask it; see `Target`."""
        if version and model:
            raise EndpointError("either a version or a model is deployed, not both")
        place = self.settings.resolve_path(self.settings.release.store)
        store = ReleaseStore(place, self.settings.release.model)
        with self._locked(), self._cleanup_on_failure():
            self._router.start()
            state = self._state_or_empty()
            if model:
                logger.info("Releasing %s", model)
                version = self.release(model).manifest.version
            version = version or store.get_champion()
            if version is None:
                raise EndpointError(f"{store.model}: nothing is released yet: make release does it")
            _, digest = store.load_manifest(version)
            backend_type = self._backend_type or (
                state.live.type if state.live else BackendType.PROCESS
            )
            live, previous = state.live, state.live
            if live and self._is_the_same(live, digest, backend_type):
                if self._backends.is_healthy(live):
                    self._router.wait()
                    state, repaired, problems = self._repair(state)
                    for line in (*repaired, *problems):
                        logger.info("%s", line)
                    return self._move(state, changed=False)
                logger.info("%s is live, but does not answer", live.name)
                previous = state.previous
            logger.info("Starting %s version %s", store.model, version)
            new = self._backends.start(store, version, backend_type)
            self._router.wait()
            logger.info("Its predictions match the release; switching traffic to it")
            state = self._switch(state, State(live=new, previous=previous))
            self._backends.tidy(state)
        return self._move(state, changed=True)

    def rollback(self) -> DeploymentResult:
        """Let the front ask the former server, which runs; see `Target`."""
        self._require_deployed()
        with self._locked(), self._cleanup_on_failure():
            state = load_state(self._folder)
            live, previous = state.live, state.previous
            if previous is None:
                reason = "there is no former release to go back to" if live else NOTHING
                raise EndpointError(f"{self._name}: {reason}")
            self._router.start()
            if not self._backends.is_healthy(previous):
                logger.info("%s does not answer any more: restarting it", previous.name)
                previous = self._backends.restart(previous)
            self._router.wait()
            back = previous.model_copy(update={"live_since": now()})
            state = self._switch(state, State(live=back, previous=live))
        return self._move(state, changed=True)

    def status(self) -> Status:
        """Ask the front and both servers, and start again what is gone; see `Target`.

        While a deployment is under way nothing is mended.
        """
        if not self._home.exists():
            return Status(self._name, self._url, None, None, (), ())
        repaired: list[str] = []
        problems: list[str] = []
        state = State()
        try:
            # Read before as well: a deployment that is under way keeps the lock.
            state = load_state(self._folder)
            with self._locked():
                state = load_state(self._folder)
                if not state.live and processes.find(self._folder):
                    problems.append(f"{STATE} is lost, servers run; make teardown ends them")
                if state.live:
                    repaired += self._repair_router()
                    state, *found = self._repair(state)
                    repaired += found[0]
                    problems += found[1]
        except BusyError:
            if state.live and not self._router.is_healthy():
                problems.append(f"nothing answers at {self._origin}")
        except StackError as error:
            problems.append(str(error))
        live, previous = (self._describe(one) for one in (state.live, state.previous))
        return Status(self._name, self._url, live, previous, tuple(repaired), tuple(problems))

    def invoke(
        self, body: bytes, content_type: str = JSON, accept: str = JSON
    ) -> InvocationResponse:
        """Ask through boto3, as of AWS; see `Target`."""
        with closing(client.local_client(self._origin)) as runtime:
            return client.invoke(runtime, self._name, body, content_type, accept)

    def teardown(self) -> tuple[str, ...]:
        """End the front and all servers, and remove `.local/endpoints`; see `Target`.

        They are found by what they are marked with, whatever the endpoints' files say.
        """
        if not self._home.exists() and not processes.find(self._home, below=True):
            return ()
        removed = []
        with self._locked():
            found = processes.find(self._home, below=True)
            # First the front, so that no client asks a server that is about to end.
            self._router.stop()
            if not processes.stop(processes.find(self._home, below=True)):
                raise EndpointError("a process of an endpoint can't be ended")
            containers = remove_containers(self._home)
            removed += [f"endpoint {one.name}" for one in self._home.iterdir() if one.is_dir()]
            removed += [_count(len(found), "process", "es")] if found else []
            removed += [_count(containers, "container", "s")] if containers else []
            try:
                shutil.rmtree(self._home)
            except OSError as error:
                raise EndpointError(f"{self._home}: {error.strerror}") from None
        return tuple(removed)

    def _switch(self, before: State, after: State) -> State:
        """Move the traffic, and back where the live one can't be asked through the front."""
        save_state(self._folder, after)
        try:
            self._ask_live(after)
        except BaseException:
            save_state(self._folder, before)
            raise
        return after

    def _ask_live(self, state: State) -> None:
        if state.live is None:
            return
        known = self._backends.known_rows(state.live)
        body = client.rows_as_json(known["rows"][:1])
        port = self.settings.serving.port
        status, headers, content = ask(port, self._path, body)
        answer = content.decode(errors="replace")
        if status != 200:
            raise EndpointError(f"{self._url}: {answer[:200]}")
        verify(state.live, known["predictions"][:1], headers.get(HEADER, ""), answer)

    def _repair_router(self) -> list[str]:
        if self._router.is_healthy():
            return []
        self._router.start()
        self._router.wait()
        return [f"nothing answered at {self._origin}: the front was started again"]

    def _repair(self, state: State) -> tuple[State, list[str], list[str]]:
        """Start servers again that are gone; return the state, what was mended and what wasn't."""
        repaired, problems = [], []
        for role in ("live", "previous"):
            backend: Backend | None = getattr(state, role)
            if backend is None or self._backends.is_healthy(backend):
                continue
            found = f"{role}: {backend.name} ({self._backends.runs_as(backend)}) did not answer"
            try:
                again = self._backends.restart(backend)
            except StackError as error:
                problems.append(f"{found}, and can't be started again: {error}")
                continue
            state = state.model_copy(update={role: again})
            save_state(self._folder, state)
            repaired.append(f"{found}: started again as {self._backends.runs_as(again)}")
        if repaired or problems:
            self._backends.tidy(state)
        return state, repaired, problems

    def _move(self, state: State, changed: bool) -> DeploymentResult:
        live, previous = self._describe(state.live), self._describe(state.previous)
        if live is None:
            raise EndpointError(f"{self._name}: {NOTHING}")
        return DeploymentResult(self._name, self._url, live, previous, changed)

    def _describe(self, backend: Backend | None) -> Deployment | None:
        if backend is None:
            return None
        return Deployment(
            model=backend.model,
            version=backend.version,
            digest=backend.digest,
            live_since=backend.live_since,
            started_at=backend.started_at,
            runs_as=self._backends.runs_as(backend),
            healthy=self._backends.is_healthy(backend),
        )

    def _state_or_empty(self) -> State:
        try:
            return load_state(self._folder)
        except EndpointError as error:
            logger.warning("%s", error)
            return State()

    def _require_deployed(self) -> None:
        if not self._home.exists():
            raise EndpointError(f"{self._name}: {NOTHING}")

    def _is_the_same(self, live: Backend, digest: str, backend_type: BackendType) -> bool:
        same = (live.digest, live.type) == (digest, backend_type)
        return same and live.server_digest == self._backends.server_digest(backend_type)

    @contextmanager
    def _cleanup_on_failure(self) -> Iterator[None]:
        """On a failure or an interrupt, remove what was begun: all that the state doesn't name."""
        try:
            yield
        except BaseException:
            with suppress(EndpointError):  # what can't be read may name what is live
                state = load_state(self._folder)
                self._backends.tidy(state)
                if state.live is None:
                    self._remove_empty()
            raise

    def _remove_empty(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        if not any(one.is_dir() for one in self._home.iterdir()):
            self._router.stop()
            shutil.rmtree(self._home, ignore_errors=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Be the only command that changes endpoints; the lock ends with the process."""
        file = self._home / "lock"
        self._home.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = os.fstat(handle).st_ino == file.stat().st_ino  # no teardown has removed it
            except OSError:
                held = False
            if not held:
                raise BusyError(BUSY)
            yield
        finally:
            os.close(handle)


class BusyError(EndpointError):
    """Another command is changing the endpoints."""


def _count(number: int, what: str, plural: str) -> str:
    return f"{number} {what}{plural if number > 1 else ''}"
