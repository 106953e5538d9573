"""The local MLflow server over what was tracked, as `make ui` and `make run` start it."""

import os
import sys
from http.client import HTTPException
from urllib.request import urlopen

from contract.errors import TrackingError
from contract.settings.loader import Settings
from endpoints.ports import HOST, bind_error

PORT = 5000
EXPERIMENTS_PAGE = "/#/experiments?workflowType=machine_learning"
"""Without its last part MLflow's page opens on what is for language models."""


def server_command(settings: Settings, port: int) -> list[str]:
    """Return the command line that serves the settings' local store on this machine alone.

    Artifacts are not proxied: their places are local paths, so that runs tracked through the server
    and runs tracked without it are the same to both.
    """
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port)]
    command += ["--backend-store-uri", settings.tracking_uri, "--workers", "1"]
    return [*command, "--no-serve-artifacts", "--default-artifact-root", settings.artifact_root]


def server_environment() -> dict[str, str]:
    """Return the environment to start it in.

    Its job runner is for evaluating language models: eight processes and half of the start-up time
    that nothing here has a use for. Its libraries' warnings are no message to the user.
    """
    return {
        **os.environ,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONWARNINGS": "ignore",
    }


def answers(uri: str) -> bool:
    """Tell whether an MLflow server is at this address; within two seconds."""
    try:
        with urlopen(f"{uri}/health", timeout=2) as response:  # noqa: S310 - http, by the caller
            return bool(response.read(16).strip() == b"OK")
    except (HTTPException, OSError, ValueError):
        return False


def require_free_port(port: int) -> None:
    """Raise a TrackingError where something listens on the port already."""
    if bind_error(port):
        uri = f"http://{HOST}:{port}"
        what = "an MLflow server answers there" if answers(uri) else "by another program"
        raise TrackingError(f"{uri}: the port is in use: {what}; choose another")
