"""The tracking host's task as the emulated account has it, run on this machine."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from contract.names import StackOutput
from contract.paths import PROJECT_ROOT
from endpoints.ports import find_free_port
from tests.emulator.account import Account
from tests.mlflow_server.postgres import Postgres


@dataclass(frozen=True)
class Task:
    """Its containers' commands, variables and secrets are those of the deployed definition."""

    account: Account
    postgres: Postgres
    outputs: Mapping[StackOutput, str]
    containers: Mapping[str, dict[str, Any]]

    def secret(self, name: str) -> str:
        """Return what a container gets for a variable from Secrets Manager."""
        (found,) = [
            one["valueFrom"] for one in self.containers["serve"]["secrets"] if one["name"] == name
        ]
        secrets = self.account.client("secretsmanager")
        return str(secrets.get_secret_value(SecretId=found)["SecretString"])

    @property
    def admin(self) -> tuple[str, str]:
        return "admin", self.secret("TRACKING_SERVER_ADMIN_PASSWORD")

    @property
    def training(self) -> tuple[str, str]:
        return "training", self.secret("TRACKING_SERVER_TRAINING_PASSWORD")

    def variables(self, container: str, port: int = 5000) -> dict[str, str]:
        """Return what the definition sets; and where the database, S3 and the port are here."""
        definition = self.containers[container]
        return {
            **{one["name"]: one["value"] for one in definition["environment"]},
            **{one["name"]: self.secret(one["name"]) for one in definition["secrets"]},
            **self.account.environment,
            "TRACKING_SERVER_DATABASE_HOST": "127.0.0.1",
            "TRACKING_SERVER_DATABASE_PORT": str(self.postgres.port),
            "TRACKING_SERVER_DATABASE_TLS": "disable",  # this Postgres has no certificate
            "TRACKING_SERVER_HOST": "127.0.0.1",
            "TRACKING_SERVER_PORT": str(port),
        }

    def environment(self, container: str, port: int = 5000) -> dict[str, str]:
        shell = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MLFLOW_", "TRACKING_", "AWS_"))
        }
        return shell | self.variables(container, port)

    def run(self, container: str, **changes: str) -> "subprocess.CompletedProcess[str]":
        """Run a container's command to its end."""
        command = self.containers[container]["command"]
        return subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "mlflow_server", *command],
            cwd=PROJECT_ROOT,
            env=self.environment(container) | changes,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    @contextmanager
    def serving(self, folder: Path) -> Iterator[str]:
        """A task of the service that serves, at the address that is yielded."""
        port = find_free_port()
        with (folder / f"{port}.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "mlflow_server", *self.containers["serve"]["command"]],
                cwd=PROJECT_ROOT,
                env=self.environment("serve", port),
                stdout=log,
                stderr=log,
            )
            try:
                wait(f"http://127.0.0.1:{port}", process, folder / f"{port}.log")
                yield f"http://127.0.0.1:{port}"
            finally:
                process.terminate()
                process.wait(30)


def wait(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Return when the server is healthy, as its load balancer asks."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            if requests.get(f"{address}/health", timeout=2).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.1)
    raise AssertionError(log.read_text())


def call(
    address: str, path: str, auth: tuple[str, str] | None = None, version: str = "2.0", **more: Any
) -> requests.Response:
    """Ask MLflow's API."""
    method = "POST" if "json" in more else "GET"
    uri = f"{address}/api/{version}/mlflow/{path}"
    return requests.request(method, uri, auth=auth, timeout=30, **more)
