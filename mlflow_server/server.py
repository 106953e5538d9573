"""Run the MLflow server with basic authentication: users see only what they were granted."""

import configparser
import os
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from contract.names import LOAD_BALANCER_IDLE_SECONDS, MlflowUser
from mlflow_server.config import ServerConfig

UVICORN_OPTIONS = (
    "--no-server-header",
    "--timeout-graceful-shutdown 20",
    f"--timeout-keep-alive {LOAD_BALANCER_IDLE_SECONDS + 5}",
)

AUTH_CACHE_SECONDS = 10
"""How long a verified password is remembered, by each worker.

Verifying one takes 0.05 to 0.2 s of CPU, by design of its hash, and a training sends twenty
requests per combination. The worker that deletes a user or changes a password forgets it at once;
the others may accept it for that long.
"""


def serve(config: ServerConfig) -> NoReturn:
    """Replace this process with the MLflow server, so that signals reach the server directly."""
    arguments = [
        *(sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth"),
        *("--host", config.host, "--port", str(config.port), "--workers", str(config.workers)),
        *("--serve-artifacts", "--artifacts-destination", config.artifacts_destination),
        *("--allowed-hosts", config.allowed_hosts, "--x-frame-options", "DENY"),
        *("--cors-allowed-origins", _cors_origins(config.allowed_hosts)),
        *("--uvicorn-opts", " ".join(UVICORN_OPTIONS)),
    ]
    sys.stdout.flush()
    os.execve(sys.executable, arguments, _environment(config))  # noqa: S606


def _cors_origins(allowed_hosts: str) -> str:
    """Return the origins of MLflow's own UI, whose requests MLflow would reject otherwise.

    MLflow compares the Origin header of a request with this list, not with the Host header.
    """
    hosts = allowed_hosts.split(",")
    return ",".join(f"{scheme}://{host}" for scheme in ("http", "https") for host in hosts)


def _environment(config: ServerConfig) -> dict[str, str]:
    return {
        **os.environ,
        # Not an argument: every process on the machine can read arguments.
        "MLFLOW_BACKEND_STORE_URI": config.database_uri,
        "MLFLOW_AUTH_CONFIG_PATH": str(_write_auth_config(config)),
        "MLFLOW_AUTH_ADMIN_USERNAME": MlflowUser.ADMIN,
        "MLFLOW_AUTH_ADMIN_PASSWORD": config.admin_password.get_secret_value(),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": config.flask_secret.get_secret_value(),
        # MLflow's job runner evaluates language models; it would start eight more processes.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        # Each of the two workers has one connection pool for runs and one for users. The smallest
        # database allows about 80 connections, and twice as many tasks run during a deployment.
        "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "3",
        "MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW": "5",
    }


def _write_auth_config(config: ServerConfig) -> Path:
    """Write the options that MLflow reads only from a file; /tmp is the only writable folder."""
    content = configparser.ConfigParser(interpolation=None)
    content["mlflow"] = {
        # MLflow parses the file with interpolation.
        "database_uri": config.database_uri.replace("%", "%%"),
        "default_permission": "NO_PERMISSIONS",
        "admin_username": MlflowUser.ADMIN,
        "auth_cache_ttl_seconds": str(AUTH_CACHE_SECONDS),
    }
    # NamedTemporaryFile creates it readable by this user only.
    with tempfile.NamedTemporaryFile("w", suffix=".ini", delete=False) as file:
        content.write(file)
    return Path(file.name)
