"""Run the MLflow server with users: nobody sees what nobody has granted them."""

import configparser
import os
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from contract.names import LOAD_BALANCER_IDLE_SECONDS, MlflowUser
from mlflow_server.config import Config

OPTIONS = (
    "--no-server-header",
    "--timeout-graceful-shutdown 20",
    f"--timeout-keep-alive {LOAD_BALANCER_IDLE_SECONDS + 5}",
)


def serve(config: Config) -> NoReturn:
    """Become the server, so that a signal to this process is the server's."""
    arguments = [
        *(sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth"),
        *("--host", config.host, "--port", str(config.port), "--workers", str(config.workers)),
        *("--serve-artifacts", "--artifacts-destination", config.artifacts),
        *("--allowed-hosts", config.allowed_hosts, "--x-frame-options", "DENY"),
        *("--cors-allowed-origins", _origins(config.allowed_hosts)),
        *("--uvicorn-opts", " ".join(OPTIONS)),
    ]
    sys.stdout.flush()
    os.execve(sys.executable, arguments, _environment(config))  # noqa: S606


def _origins(hosts: str) -> str:
    """Return the origins that MLflow's own page has: else it takes itself for a foreign one.

    Of what a page sends, MLflow compares the origin with this list, not with the host.
    """
    own = hosts.split(",")
    return ",".join(f"{scheme}://{host}" for scheme in ("http", "https") for host in own)


def _environment(config: Config) -> dict[str, str]:
    return {
        **os.environ,
        # Not an argument: every process on the machine can read those.
        "MLFLOW_BACKEND_STORE_URI": config.database,
        "MLFLOW_AUTH_CONFIG_PATH": str(_write_users_file(config)),
        "MLFLOW_AUTH_ADMIN_USERNAME": MlflowUser.ADMIN,
        "MLFLOW_AUTH_ADMIN_PASSWORD": config.admin_password.get_secret_value(),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": config.flask_secret.get_secret_value(),
        # Its job runner is for evaluating language models: eight processes more.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        # Of two workers with a pool for runs and one for users each: the smallest database has
        # some 80 connections, and twice the tasks while a new version comes.
        "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "3",
        "MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW": "5",
    }


def _write_users_file(config: Config) -> Path:
    """Write what MLflow takes from a file alone; to /tmp, where alone the task may write."""
    content = configparser.ConfigParser(interpolation=None)
    content["mlflow"] = {
        # MLflow reads it with interpolation.
        "database_uri": config.database.replace("%", "%%"),
        "default_permission": "NO_PERMISSIONS",
        "admin_username": MlflowUser.ADMIN,
    }
    # Readable by this user alone.
    with tempfile.NamedTemporaryFile("w", suffix=".ini", delete=False) as file:
        content.write(file)
    return Path(file.name)
