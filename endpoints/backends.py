"""The servers behind a local endpoint: start them, check their predictions, and remove them."""

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
from typing import TYPE_CHECKING, Any

from contract.errors import EndpointError, ReleaseError
from contract.paths import PROJECT_ROOT
from contract.release import CHECK_FILE, PARITY_TOLERANCE, Release, load_release
from contract.response_attributes import HEADER, parse_attributes
from contract.settings.messages import ENV_PREFIX
from contract.settings.sections import ServingSettings
from endpoints import processes
from endpoints.client import rows_to_json
from endpoints.containers import ALL_ENDPOINTS_LABEL, ENDPOINT_LABEL, ServingContainers
from endpoints.logs import BACKEND_LOG, remove_log
from endpoints.ports import HOST, find_free_port
from endpoints.state import Backend, BackendType, State, utc_now
from endpoints.target import JSON

if TYPE_CHECKING:
    from contract.release_store import ReleaseStore

START_TIMEOUT_SECONDS = 60.0
RESPONSE_TIMEOUT_SECONDS = 10.0
PING_TIMEOUT_SECONDS = 2.0
UNHEALTHY_STOP_TIMEOUT_SECONDS = 1.0
CONTAINERS_FILE = "containers"
"""Created in the folder of all endpoints when a container is started; without it no container
engine is run.
"""
SERVER_PACKAGES = ("serving", "contract")


class Backends:
    """The backends of one endpoint."""

    def __init__(self, folder: Path, settings: ServingSettings) -> None:
        """Configure the backends; nothing is started yet.

        Args:
            folder: The endpoint's folder.
            settings: The settings of the servers.
        """
        self._folder = folder
        self._environment = {
            f"{ENV_PREFIX}SERVING__{key.upper()}": json.dumps(value)
            for key, value in settings.model_dump(exclude={"endpoint", "port"}).items()
        }

    @cached_property
    def _containers(self) -> ServingContainers:
        return ServingContainers()

    def server_digest(self, backend_type: BackendType) -> str:
        """Return a digest of the current server: its code or image, and its settings."""
        digest = hashlib.sha256(json.dumps(self._environment).encode())
        if backend_type is BackendType.CONTAINER:
            digest.update(self._containers.image_id().encode())
        else:
            for package in SERVER_PACKAGES:
                for file in sorted((PROJECT_ROOT / package).rglob("*.py")):
                    digest.update(file.read_bytes())
        return digest.hexdigest()

    def start(self, store: "ReleaseStore", version: str, backend_type: BackendType) -> Backend:
        """Download a release, start a server of it, and check it with the release's check rows.

        If that fails, `remove_unreferenced` removes what was created.

        Raises:
            ReleaseError: There is no such release, or one of its files was changed.
            EndpointError: The server does not start, or its predictions differ.
        """
        server_digest = self.server_digest(backend_type)
        _, digest = store.load_manifest(version)
        backend_id = f"{version}-{digest[:12]}-{secrets.token_hex(2)}"
        release = store.download(version, self._folder / backend_id / "release")
        backend = Backend(
            id=backend_id,
            model=release.manifest.model,
            version=version,
            digest=release.digest,
            type=backend_type,
            server_digest=server_digest,
            port=find_free_port(),
            pid=None,
            started_at=utc_now(),
            live_since=utc_now(),
        )
        return self._start_server(backend, release)

    def restart(self, backend: Backend) -> Backend:
        """Start a new server for a backend that stopped or does not respond.

        Raises:
            ReleaseError: A file of its release was changed.
            EndpointError: The server does not start, or its predictions differ.
        """
        folder = self._release_folder(backend)
        release = load_release(folder)
        if release.digest != backend.digest:
            raise ReleaseError(f"{folder}: is not the release that was deployed")
        running = processes.find_in_tree(self._folder, backend.pid)
        processes.stop(running, timeout=UNHEALTHY_STOP_TIMEOUT_SECONDS)
        if backend.type is BackendType.CONTAINER:
            self._containers.remove(self._container_name(backend))
        changes = {
            "port": find_free_port(),
            "server_digest": self.server_digest(backend.type),
            "started_at": utc_now(),
        }
        return self._start_server(backend.model_copy(update=changes), release)

    def is_healthy(self, backend: Backend) -> bool:
        """Return whether a server runs and predicts a check row as its release does."""
        if backend.pid is not None and not processes.is_alive(backend.pid, self._folder):
            return False
        try:
            check_backend(backend, self.load_check(backend), 1)
        except (EndpointError, OSError, ValueError):
            return False
        return True

    def load_check(self, backend: Backend) -> dict[str, Any]:
        """Load the check rows of a backend's release, and their predictions."""
        check: dict[str, Any] = json.loads(
            (self._release_folder(backend) / CHECK_FILE).read_bytes()
        )
        return check

    def compute(self, backend: Backend) -> str:
        """Return what runs a server: `process 4711` or `container prod-endpoint-...`."""
        if backend.type is BackendType.CONTAINER:
            return f"container {self._container_name(backend)}"
        return f"process {backend.pid}"

    def remove_unreferenced(self, state: State) -> None:
        """Stop the endpoint's servers that its state does not reference; remove their folders."""
        pids = set().union(*(processes.process_tree(backend.pid) for backend in state.backends))
        found = processes.find_by_folder(self._folder)
        processes.stop([process for process in found if process.pid not in pids])
        if (self._folder.parent / CONTAINERS_FILE).exists():
            names = {self._container_name(backend) for backend in state.backends}
            for name in self._containers.find_by_label(ENDPOINT_LABEL, self._folder):
                if name not in names:
                    self._containers.remove(name)
        ids = {backend.id for backend in state.backends}
        for path in self._folder.iterdir() if self._folder.exists() else []:
            if path.is_dir() and path.name not in ids:
                shutil.rmtree(path, ignore_errors=True)

    def _start_server(self, backend: Backend, release: Release) -> Backend:
        try:
            check = json.loads(release.files[CHECK_FILE])
        except (KeyError, ValueError):
            raise ReleaseError(f"{release.name}: no valid {CHECK_FILE} to check it with") from None
        if backend.type is BackendType.CONTAINER:
            self._start_container(backend)
        else:
            backend = self._start_process(backend)
        self._wait_until_healthy(backend)
        check_backend(backend, check)
        return backend

    def _start_container(self, backend: Backend) -> None:
        (self._folder.parent / CONTAINERS_FILE).touch()
        self._containers.start(
            self._container_name(backend),
            self._folder,
            self._release_folder(backend),
            backend.port,
            self._environment,
        )

    def _start_process(self, backend: Backend) -> Backend:
        log = self._log_file(backend)
        remove_log(log)
        command = [sys.executable, "-m", "serving", "serve", "--host", HOST]
        command += ["--port", str(backend.port), "--model", str(self._release_folder(backend))]
        process = processes.start(command, self._folder, log, self._environment)
        return backend.model_copy(update={"pid": process.pid})

    def _wait_until_healthy(self, backend: Backend) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not _responds_to_ping(backend.port):
            if self._has_exited(backend):
                reason = self._last_error(backend)
                raise EndpointError(f"{backend.name} does not start: {reason}")
            if time.monotonic() > deadline:
                reason = f"no response within {START_TIMEOUT_SECONDS:g} s"
                raise EndpointError(f"{backend.name} does not start: {reason}")
            time.sleep(0.02)

    def _has_exited(self, backend: Backend) -> bool:
        if backend.type is BackendType.CONTAINER:
            return not self._containers.is_running(self._container_name(backend))
        return not processes.is_alive(backend.pid or 0, self._folder)

    def _last_error(self, backend: Backend) -> str:
        """Return the last error line of a server's log, else its last line."""
        text = ""
        with suppress(OSError):
            text = (
                self._containers.logs(self._container_name(backend))
                if backend.type is BackendType.CONTAINER
                else self._log_file(backend).read_text(errors="replace")
            )
        lines = [line for line in text.splitlines() if line.strip()]
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        return (errors or lines or ["it exited without a message"])[-1]

    def _release_folder(self, backend: Backend) -> Path:
        return self._folder / backend.id / "release"

    def _log_file(self, backend: Backend) -> Path:
        return self._folder / backend.id / BACKEND_LOG

    def _container_name(self, backend: Backend) -> str:
        return f"{self._folder.name}-{backend.id}"


def check_backend(backend: Backend, check: dict[str, Any], rows: int | None = None) -> None:
    """Send check rows to a server, and compare its predictions with those of the release.

    Args:
        backend: The backend to check.
        check: `rows` and `predictions`, as in the release's check file.
        rows: The number of rows to send; by default all.

    Raises:
        EndpointError: The server does not respond, or its predictions differ.
    """
    body = rows_to_json(check["rows"][:rows])
    status, headers, content = http_request(backend.port, "/invocations", body)
    text = content.decode(errors="replace")
    if status != 200:
        raise EndpointError(f"{backend.name} rejects its own check rows: {text[:200]}")
    check_predictions(backend, check["predictions"][:rows], headers.get(HEADER, ""), text)


def check_predictions(
    backend: Backend, expected: list[float], attributes: str, response: str
) -> None:
    """Compare a response with what a release predicts.

    Args:
        backend: The backend that should have responded.
        expected: The release's predictions.
        attributes: The header with the response's attributes.
        response: The response's body.

    Raises:
        EndpointError: Another release responded, or a prediction differs.
    """
    if parse_attributes(attributes).get("digest") != f"sha256:{backend.digest}":
        found = attributes or "no attributes"
        raise EndpointError(f"{backend.name}: another release responded ({found})")
    try:
        actual = [float(value) for value in json.loads(response)["predictions"]]
    except (ValueError, KeyError, TypeError):
        reason = f"the response has no predictions: {response[:200]}"
        raise EndpointError(f"{backend.name}: {reason}") from None
    pairs = zip(actual, expected, strict=False)
    differs = [not math.isclose(*pair, rel_tol=PARITY_TOLERANCE) for pair in pairs]
    if len(actual) != len(expected) or any(differs):
        row = differs.index(True) if any(differs) else min(len(actual), len(expected))
        figures = f"{actual[row : row + 1]} instead of {expected[row : row + 1]}"
        raise EndpointError(f"{backend.name} predicts {figures} for check row {row + 1}")


def http_request(
    port: int, path: str, body: bytes | None = None, timeout: float = RESPONSE_TIMEOUT_SECONDS
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Send a request to a server on this machine, without a proxy.

    Args:
        port: The server's port.
        path: The path of the request.
        body: A JSON body to POST; without it the request is a GET.
        timeout: In seconds.

    Returns:
        The response's status, headers and body.

    Raises:
        EndpointError: The server does not respond.
    """
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        headers = {} if body is None else {"Content-Type": JSON}
        connection.request("GET" if body is None else "POST", path, body, headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    except (OSError, http.client.HTTPException) as error:
        raise EndpointError(f"no response from http://{HOST}:{port}{path} ({error})") from None
    finally:
        connection.close()


def remove_containers(endpoints_folder: Path) -> int:
    """Remove the containers of all endpoints in a folder; return their number."""
    if not (endpoints_folder / CONTAINERS_FILE).exists():
        return 0
    containers = ServingContainers()
    names = containers.find_by_label(ALL_ENDPOINTS_LABEL, endpoints_folder)
    return sum(containers.remove(name) for name in names)


def _responds_to_ping(port: int) -> bool:
    try:
        return http_request(port, "/ping", timeout=PING_TIMEOUT_SECONDS)[0] == 200
    except EndpointError:
        return False
