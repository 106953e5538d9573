"""The servers behind a local endpoint: started, checked with real rows, watched and ended."""

import hashlib
import http.client
import json
import math
import secrets
import shutil
import sys
import time
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from contract.errors import EndpointError, ReleaseError
from contract.paths import PROJECT_ROOT
from contract.release import CHECK_FILE, PARITY_TOLERANCE, Release, load_release
from contract.release_store import ReleaseStore
from contract.response_attributes import HEADER, parse_attributes
from contract.settings.messages import ENV_PREFIX
from contract.settings.sections import ServingSettings
from endpoints import processes
from endpoints.client import rows_as_json
from endpoints.containers import ENDPOINT_LABEL, HOME_LABEL, ServingContainers
from endpoints.ports import HOST, find_free_port
from endpoints.state import Backend, BackendType, State, now
from endpoints.target import JSON

START_SECONDS = 60.0
ANSWER_SECONDS = 10.0
CONTAINERS = "containers"
"""The file beside the endpoints that says that containers were started: else no engine is asked."""
SERVED_BY = ("serving", "contract")


class Backends:
    """The servers of one endpoint."""

    def __init__(self, folder: Path, settings: ServingSettings) -> None:
        """Take the endpoint's folder and how its servers are to answer."""
        self._folder = folder
        self._environment = {
            f"{ENV_PREFIX}SERVING__{key.upper()}": json.dumps(value)
            for key, value in settings.model_dump(exclude={"endpoint", "port"}).items()
        }

    @cached_property
    def _engine(self) -> ServingContainers:
        return ServingContainers()

    def server_digest(self, backend_type: BackendType) -> str:
        """Return a digest of what would serve a release now: code or image, and settings."""
        digest = hashlib.sha256(json.dumps(self._environment).encode())
        if backend_type is BackendType.CONTAINER:
            digest.update(self._engine.image().encode())
        else:
            for file in sorted(
                one for room in SERVED_BY for one in (PROJECT_ROOT / room).glob("*.py")
            ):
                digest.update(file.read_bytes())
        return digest.hexdigest()

    def start(self, store: ReleaseStore, version: str, backend_type: BackendType) -> Backend:
        """Fetch a release, start a server of it, and check it with the release's own rows.

        What is left of one that fails, `tidy` removes.

        Raises:
            ReleaseError: There is no such release, or a file of it was changed.
            EndpointError: It doesn't start, or it answers otherwise than it should.
        """
        server = self.server_digest(backend_type)
        _, digest = store.load_manifest(version)
        key = f"{version}-{digest[:12]}-{secrets.token_hex(2)}"
        release = store.download(version, self._folder / key / "release")
        began = Backend(
            id=key,
            model=release.manifest.model,
            version=version,
            digest=release.digest,
            type=backend_type,
            server_digest=server,
            port=find_free_port(),
            pid=None,
            started_at=now(),
            live_since=now(),
        )
        return self._launch(began, release)

    def restart(self, backend: Backend) -> Backend:
        """Start a server anew that is gone, or that doesn't answer.

        Raises:
            ReleaseError: A file of its release was changed.
            EndpointError: It doesn't start, or it answers otherwise than it should.
        """
        release = load_release(self._release(backend))
        if release.digest != backend.digest:
            raise ReleaseError(f"{self._release(backend)}: holds another release")
        processes.stop(processes.of_family(self._folder, backend.pid), patience=1)
        if backend.type is BackendType.CONTAINER:
            self._engine.remove(self._container(backend))
        server = self.server_digest(backend.type)
        changes = {"port": find_free_port(), "server_digest": server, "started_at": now()}
        return self._launch(backend.model_copy(update=changes), release)

    def is_healthy(self, backend: Backend) -> bool:
        """Tell whether a server is there and answers as its release."""
        if backend.pid is not None and not processes.is_alive(backend.pid, self._folder):
            return False
        try:
            known = json.loads((self._release(backend) / CHECK_FILE).read_bytes())
            check(backend, known, 1)
        except (EndpointError, OSError, ValueError):
            return False
        return True

    def known_rows(self, backend: Backend) -> dict[str, Any]:
        """Return the rows that a server's release is checked with, and their predictions."""
        rows: dict[str, Any] = json.loads((self._release(backend) / CHECK_FILE).read_bytes())
        return rows

    def runs_as(self, backend: Backend) -> str:
        """Say what runs a server."""
        if backend.type is BackendType.CONTAINER:
            return f"container {self._container(backend)}"
        return f"process {backend.pid}"

    def tidy(self, keep: State) -> None:
        """End every server of the endpoint that its state doesn't name, and remove its folder."""
        kept = set().union(*(processes.family(one.pid) for one in keep.backends))
        found = processes.find(self._folder)
        processes.stop([process for process in found if process.pid not in kept])
        if (self._folder.parent / CONTAINERS).exists():
            names = {self._container(one) for one in keep.backends}
            for name in self._engine.find(ENDPOINT_LABEL, self._folder):
                if name not in names:
                    self._engine.remove(name)
        ids = {one.id for one in keep.backends}
        for place in self._folder.iterdir() if self._folder.exists() else []:
            if place.is_dir() and place.name not in ids:
                shutil.rmtree(place, ignore_errors=True)

    def _launch(self, backend: Backend, release: Release) -> Backend:
        try:
            known = json.loads(release.files[CHECK_FILE])
        except (KeyError, ValueError):
            raise ReleaseError(f"{release.name}: no {CHECK_FILE} to try it with") from None
        log = self._folder / backend.id / "log"
        if backend.type is BackendType.CONTAINER:
            (self._folder.parent / CONTAINERS).touch()
            self._engine.start(
                self._container(backend),
                self._folder,
                self._release(backend),
                backend.port,
                self._environment,
            )
        else:
            log.unlink(missing_ok=True)
            command = [sys.executable, "-m", "serving", "serve", "--host", HOST]
            command += ["--port", str(backend.port), "--model", str(self._release(backend))]
            process = processes.start(command, self._folder, log, self._environment)
            backend = backend.model_copy(update={"pid": process.pid})
        self._wait(backend, log)
        check(backend, known)
        return backend

    def _wait(self, backend: Backend, log: Path) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(backend.port):
            if self._ended(backend):
                reason = self._last_words(backend, log)
                raise EndpointError(f"{backend.name} doesn't start: {reason}")
            if time.monotonic() > deadline:
                reason = f"no answer within {START_SECONDS:g} s"
                raise EndpointError(f"{backend.name} doesn't start: {reason}")
            time.sleep(0.02)

    def _ended(self, backend: Backend) -> bool:
        if backend.type is BackendType.CONTAINER:
            return not self._engine.runs(self._container(backend))
        return not processes.is_alive(backend.pid or 0, self._folder)

    def _last_words(self, backend: Backend, log: Path) -> str:
        text = ""
        with suppress(OSError):
            text = (
                self._engine.log(self._container(backend))
                if backend.type is BackendType.CONTAINER
                else log.read_text(errors="replace")
            )
        lines = [line for line in text.splitlines() if line.strip()]
        said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        return (said or lines or ["it ended without a word"])[-1]

    def _release(self, backend: Backend) -> Path:
        return self._folder / backend.id / "release"

    def _container(self, backend: Backend) -> str:
        return f"{self._folder.name}-{backend.id}"


def check(backend: Backend, known: dict[str, Any], rows: int | None = None) -> None:
    """Ask a server for rows whose predictions are known.

    Args:
        backend: What to ask.
        known: `rows` and `predictions`, as in a release.
        rows: Only the first of them.

    Raises:
        EndpointError: It answers otherwise, or not at all.
    """
    asked = known["rows"][:rows]
    body = rows_as_json(asked)
    status, headers, content = ask(backend.port, "/invocations", body)
    answer = content.decode(errors="replace")
    if status != 200:
        raise EndpointError(f"{backend.name} refuses its own check rows: {answer[:200]}")
    verify(backend, known["predictions"][:rows], headers.get(HEADER, ""), answer)


def verify(backend: Backend, wanted: list[float], attributes: str, answer: str) -> None:
    """Compare an answer with what a release predicts.

    Raises:
        EndpointError: Another release has answered, or a prediction differs.
    """
    if parse_attributes(attributes).get("digest") != f"sha256:{backend.digest}":
        raise EndpointError(f"another release than {backend.name} answers: {attributes or 'none'}")
    try:
        given = [float(one) for one in json.loads(answer)["predictions"]]
    except (ValueError, KeyError, TypeError):
        raise EndpointError(f"{backend.name} answers no predictions: {answer[:200]}") from None
    pairs = zip(given, wanted, strict=False)
    apart = [not math.isclose(one, other, rel_tol=PARITY_TOLERANCE) for one, other in pairs]
    if len(given) != len(wanted) or any(apart):
        row = apart.index(True) if any(apart) else min(len(given), len(wanted))
        figures = f"{given[row : row + 1]} instead of {wanted[row : row + 1]}"
        raise EndpointError(f"{backend.name} predicts {figures} for check row {row + 1}")


def ask(
    port: int, path: str, body: bytes | None = None, seconds: float = ANSWER_SECONDS
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Ask a server on this machine, past any proxy: POST where there is a body of JSON, else GET.

    Raises:
        EndpointError: It doesn't answer.
    """
    connection = http.client.HTTPConnection(HOST, port, timeout=seconds)
    try:
        headers = {} if body is None else {"Content-Type": JSON}
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise EndpointError(f"http://{HOST}:{port}{path}: no answer ({error})") from None
    finally:
        connection.close()


def remove_containers(home: Path) -> int:
    """Remove the containers of all endpoints in a folder; return how many there were."""
    if not (home / CONTAINERS).exists():
        return 0
    engine = ServingContainers()
    return sum(engine.remove(name) for name in engine.find(HOME_LABEL, home))


def _answers(port: int) -> bool:
    try:
        return ask(port, "/ping", seconds=2)[0] == 200
    except EndpointError:
        return False
