"""The local MLflow tracking server, as `make ui`, `make run` and `make pipeline` start it."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import urlopen

from contract.errors import TrackingError
from contract.settings.loader import Settings, mask_password
from contract.settings.sections import TrackingSettings
from endpoints import ports
from endpoints.ports import HOST

logger = logging.getLogger(__name__)

PORT = 5000
EXPERIMENTS_PAGE = "/#/experiments?workflowType=machine_learning"
"""The page of all experiments; without the parameter MLflow opens its view for language models."""
START_SECONDS = 60
STOP_SECONDS = 30


def server_address(port: int) -> str:
    """Return the address of a server on this machine."""
    return f"http://{HOST}:{port}"


def server_command(settings: Settings, port: int) -> list[str]:
    """Return the command line that serves the settings' local store on 127.0.0.1.

    Artifacts are not proxied: their locations are local paths, so that runs that are tracked
    through the server and runs that are tracked without it look the same to both.
    """
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port)]
    command += ["--backend-store-uri", settings.tracking_uri, "--workers", "1"]
    # The server of `make pipeline` runs until `make teardown`, and its log is never rotated.
    command += ["--uvicorn-opts", "--no-access-log"]
    return [*command, "--no-serve-artifacts", "--default-artifact-root", settings.artifact_root]


def server_environment() -> dict[str, str]:
    """Return the environment variables to start the server with.

    Its job runner evaluates language models: eight processes and half of the start-up time, unused
    here. Warnings of its libraries are of no use to the user.
    """
    return {
        **os.environ,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONWARNINGS": "ignore",
    }


def is_server_healthy(uri: str) -> bool:
    """Return whether an MLflow server responds at an address, within two seconds."""
    logger.debug("GET %s/health", mask_password(uri))
    try:
        with urlopen(f"{uri}/health", timeout=2) as response:  # noqa: S310 - http, by the caller
            return bool(response.read(16).strip() == b"OK")
    except (HTTPException, OSError, ValueError):
        return False


def wait_until_healthy(uri: str, is_running: Callable[[], bool], log: Path) -> None:
    """Wait for a server that was just started.

    Args:
        uri: The server's address.
        is_running: Whether its process still runs.
        log: The file with its output.

    Raises:
        TrackingError: Its process stopped, or it did not respond within a minute.
    """
    deadline = time.monotonic() + START_SECONDS
    while not is_server_healthy(uri):
        if not is_running() or time.monotonic() > deadline:
            raise TrackingError(f"the MLflow server at {uri} did not start; see {log}")
        time.sleep(0.1)


def require_free_port(port: int) -> None:
    """Check that a server can listen on a port.

    Raises:
        StackError: The port is in use; the message names an MLflow server as such.
    """
    is_mlflow = is_server_healthy(server_address(port))
    ports.require_free_port(port, "an MLflow server" if is_mlflow else "another program")


@contextmanager
def ensure_server(uri: str, settings: Settings) -> Iterator[None]:
    """Use the MLflow server at an address; start one for the duration of the block if none runs.

    Args:
        uri: The server's address.
        settings: The settings, with the local store that a server started here serves.

    Raises:
        TrackingError: No server responds at an address of another machine, or the one that was
            started here did not become healthy.
        StackError: Another program uses the port.
    """
    if is_server_healthy(uri):
        logger.info("Using the MLflow server at %s", mask_password(uri))
        yield
        return
    port = _local_port(uri)
    if port is None:
        raise TrackingError(f"no MLflow server responds at {mask_password(uri)}")
    require_free_port(port)
    if settings.uses_tracking_server:  # its address is the one that doesn't respond
        settings = settings.model_copy(update={"tracking": TrackingSettings()})
    log = settings.root / ".local" / "mlflow-server.log"
    logger.info("Starting an MLflow server at %s for this run (log: %s)", uri, log)
    with _server_process(server_command(settings, port), log) as process:
        wait_until_healthy(uri, lambda: process.poll() is None, log)
        yield


@contextmanager
def _server_process(command: list[str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        # In a session of its own, so that Ctrl-C stops the run first and then the server.
        process = subprocess.Popen(
            command,
            env=server_environment(),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _local_port(uri: str) -> int | None:
    """Return the port of an address of this machine, None for any other address."""
    try:
        address = urlparse(uri)
        port = address.port or 80
    except ValueError:
        return None
    return port if address.scheme == "http" and address.hostname in {HOST, "localhost"} else None
