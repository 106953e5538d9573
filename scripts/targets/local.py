"""This machine as a target: processes and folders under `.local/endpoints/`.

One front listens for clients; behind it each endpoint has a live server and the former one, which
goes on running so that a rollback is a rename. Nothing here supervises: what died is found and
mended by `status`, and by the next deployment.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

from contract.errors import EndpointError, StackError
from contract.settings import Settings
from contract.store import ReleaseStore
from scripts.targets import processes, runtime
from scripts.targets.backends import Backends, ask, remove_containers, verify
from scripts.targets.base import JSON, Answer, Deployment, Move, Status, Target, Trained
from scripts.targets.front_process import FrontProcess
from scripts.targets.records import (
    HOST,
    STATE,
    Backend,
    Engine,
    State,
    now,
    read_state,
    write_state,
)

BUSY = "another deployment, rollback or teardown is under way here; try again when it has ended"
NOTHING = "nothing is deployed; make deploy-endpoint does it"


class LocalTarget(Target):
    """Processes, or containers, on 127.0.0.1."""

    def __init__(
        self, settings: Settings, say: Callable[[str], None], engine: Engine | None = None
    ) -> None:
        """Look at nothing yet.

        Args:
            settings: Name the endpoint, its port and the release store.
            say: Is told of each step.
            engine: What a deployment runs as. By default what is live stays what it is, and the
                first one is a process.
        """
        self.settings = settings
        self._say = say
        self._engine = engine
        self._name = settings.serving.endpoint
        self._home = settings.root / ".local" / "endpoints"
        self._folder = self._home / self._name
        self._origin = f"http://{HOST}:{settings.serving.port}"
        self._path = f"/endpoints/{self._name}/invocations"
        self._address = f"{self._origin}{self._path}"
        self._front = FrontProcess(self._home, settings.serving.port)
        self._backends = Backends(self._folder, settings.serving)

    def train(self, anew: bool = False) -> Trained:
        """Run the grids in a process of their own; see `Target`."""
        from training.worker import Worker  # noqa: PLC0415 - seconds, as all that follows

        with Worker() as worker:
            from scripts.progress import watch  # noqa: PLC0415
            from training.train import train  # noqa: PLC0415

            with watch(self.settings.training.metric) as progress:
                done = train(self.settings, progress, worker, anew)
        best = done.winner
        return Trained(done.parent_run_id, best.name, best.run_id, best.metrics, done.test)

    def deploy(self, version: str | None = None, model: str | None = None) -> Move:
        """Start a server beside the live one, check it, and let the front ask it; see `Target`."""
        if version and model:
            raise EndpointError("either a version or a model is deployed, not both")
        place = self.settings.path(self.settings.release.store)
        store = ReleaseStore(place, self.settings.release.model)
        with self._locked(), self._nothing_half():
            self._front.start()
            state = self._state_or_none()
            if model:
                version = self._release(model)
            version = version or store.champion()
            if version is None:
                raise EndpointError(f"{store.model}: nothing is released yet: make release does it")
            _, digest = store.manifest(version)
            engine = self._engine or (state.live.engine if state.live else "process")
            live, former = state.live, state.live
            if live and self._is_the_same(live, digest, engine):
                if self._backends.is_healthy(live):
                    self._front.wait()
                    state, mended, problems = self._mend(state)
                    for line in (*mended, *problems):
                        self._say(line)
                    return self._move(state, changed=False)
                self._say(f"{live.name} is live, but does not answer")
                former = state.former
            self._say(f"Starting {store.model} version {version}")
            new = self._backends.start(store, version, engine)
            self._front.wait()
            self._say("It predicts its check rows as released; moving the traffic")
            state = self._switch(state, State(live=new, former=former))
            self._backends.tidy(state)
        return self._move(state, changed=True)

    def rollback(self) -> Move:
        """Let the front ask the former server, which runs; see `Target`."""
        self._refuse_nothing()
        with self._locked(), self._nothing_half():
            state = read_state(self._folder)
            live, former = state.live, state.former
            if former is None:
                reason = "there is no former release to go back to" if live else NOTHING
                raise EndpointError(f"{self._name}: {reason}")
            self._front.start()
            if not self._backends.is_healthy(former):
                self._say(f"{former.name} does not answer any more: starting it again")
                former = self._backends.restart(former)
            self._front.wait()
            back = former.model_copy(update={"since": now()})
            state = self._switch(state, State(live=back, former=live))
        return self._move(state, changed=True)

    def status(self) -> Status:
        """Ask the front and both servers, and start again what is gone; see `Target`.

        While a deployment is under way nothing is mended.
        """
        if not self._home.exists():
            return Status(self._name, self._address, None, None, (), ())
        mended: list[str] = []
        problems: list[str] = []
        state = State()
        try:
            # Read before as well: a deployment that is under way keeps the lock.
            state = read_state(self._folder)
            with self._locked():
                state = read_state(self._folder)
                if not state.live and processes.find(self._folder):
                    problems.append(f"{STATE} is lost, servers run; make teardown ends them")
                if state.live:
                    mended += self._mend_front()
                    state, *found = self._mend(state)
                    mended += found[0]
                    problems += found[1]
        except BusyError:
            if state.live and not self._front.is_healthy():
                problems.append(f"nothing answers at {self._origin}")
        except StackError as error:
            problems.append(str(error))
        live, former = (self._describe(one) for one in (state.live, state.former))
        return Status(self._name, self._address, live, former, tuple(mended), tuple(problems))

    def invoke(self, body: bytes, content_type: str = JSON, accept: str = JSON) -> Answer:
        """Ask through boto3, as of AWS; see `Target`."""
        with closing(runtime.local_client(self._origin)) as client:
            return runtime.invoke(client, self._name, body, content_type, accept)

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
            self._front.stop()
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

    def _release(self, model: str) -> str:
        self._say(f"Releasing {model}")
        from training.release import release  # noqa: PLC0415 - seconds, after the first line

        return release(self.settings, model, self._say).manifest.version

    def _switch(self, before: State, after: State) -> State:
        """Move the traffic, and back where the live one can't be asked through the front."""
        write_state(self._folder, after)
        try:
            self._ask_live(after)
        except BaseException:
            write_state(self._folder, before)
            raise
        return after

    def _ask_live(self, state: State) -> None:
        if state.live is None:
            return
        known = self._backends.known_rows(state.live)
        body = runtime.rows_as_json(known["rows"][:1])
        port = self.settings.serving.port
        status, headers, content = ask(port, self._path, body)
        answer = content.decode(errors="replace")
        if status != 200:
            raise EndpointError(f"{self._address}: {answer[:200]}")
        verify(state.live, known["predictions"][:1], headers.get(runtime.ATTRIBUTES, ""), answer)

    def _mend_front(self) -> list[str]:
        if self._front.is_healthy():
            return []
        self._front.start()
        self._front.wait()
        return [f"nothing answered at {self._origin}: the front was started again"]

    def _mend(self, state: State) -> tuple[State, list[str], list[str]]:
        """Start servers again that are gone; return the state, what was mended and what wasn't."""
        mended, problems = [], []
        for role in ("live", "former"):
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
            write_state(self._folder, state)
            mended.append(f"{found}: started again as {self._backends.runs_as(again)}")
        if mended or problems:
            self._backends.tidy(state)
        return state, mended, problems

    def _move(self, state: State, changed: bool) -> Move:
        live, former = self._describe(state.live), self._describe(state.former)
        if live is None:
            raise EndpointError(f"{self._name}: {NOTHING}")
        return Move(self._name, self._address, live, former, changed)

    def _describe(self, backend: Backend | None) -> Deployment | None:
        if backend is None:
            return None
        return Deployment(
            model=backend.model,
            version=backend.version,
            digest=backend.digest,
            since=backend.since,
            started=backend.started,
            runs_as=self._backends.runs_as(backend),
            healthy=self._backends.is_healthy(backend),
        )

    def _state_or_none(self) -> State:
        try:
            return read_state(self._folder)
        except EndpointError as error:
            self._say(f"warning: {error}")
            return State()

    def _refuse_nothing(self) -> None:
        if not self._home.exists():
            raise EndpointError(f"{self._name}: {NOTHING}")

    def _is_the_same(self, live: Backend, digest: str, engine: Engine) -> bool:
        same = (live.digest, live.engine) == (digest, engine)
        return same and live.server == self._backends.server(engine)

    @contextmanager
    def _nothing_half(self) -> Iterator[None]:
        """On a failure or an interrupt, remove what was begun: all that the state doesn't name."""
        try:
            yield
        except BaseException:
            with suppress(EndpointError):  # what can't be read may name what is live
                state = read_state(self._folder)
                self._backends.tidy(state)
                if state.live is None:
                    self._remove_empty()
            raise

    def _remove_empty(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        if not any(one.is_dir() for one in self._home.iterdir()):
            self._front.stop()
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
