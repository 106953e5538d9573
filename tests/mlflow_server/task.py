"""The MLflow server's Fargate task, as defined in the emulated account, run on this machine."""

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

from contract.names import MlflowUser, StackOutput
from contract.paths import PROJECT_ROOT
from contract.settings.stage import Stage
from endpoints.ports import find_free_port
from tests.emulator.account import Account
from tests.images import engine
from tests.mlflow_server.postgres import Postgres

START_SECONDS = 120
"""How long the server may take to start, on a busy machine."""


@dataclass(frozen=True)
class Task:
    """Commands, variables and secrets come from the deployed task definition."""

    account: Account
    postgres: Postgres
    outputs: Mapping[StackOutput, str]
    containers: Mapping[str, dict[str, Any]]

    def secret_arn(self, variable: str) -> str:
        """Return the ARN of the secret that a container receives as a variable."""
        (arn,) = [
            secret["valueFrom"]
            for secret in self.containers["serve"]["secrets"]
            if secret["name"] == variable
        ]
        return str(arn)

    def secret(self, variable: str) -> str:
        """Return the value of that secret."""
        client = self.account.client("secretsmanager")
        return str(client.get_secret_value(SecretId=self.secret_arn(variable))["SecretString"])

    @property
    def admin(self) -> tuple[str, str]:
        return MlflowUser.ADMIN, self.secret("TRACKING_SERVER_ADMIN_PASSWORD")

    @property
    def training(self) -> tuple[str, str]:
        return MlflowUser.TRAINING, self.secret("TRACKING_SERVER_TRAINING_PASSWORD")

    def variables(self, container: str, port: int = 5000) -> dict[str, str]:
        """Return the variables of a container, with the local database, S3 and port."""
        definition = self.containers[container]
        return {
            **{variable["name"]: variable["value"] for variable in definition["environment"]},
            **{secret["name"]: self.secret(secret["name"]) for secret in definition["secrets"]},
            **self.account.environment,
            "TRACKING_SERVER_DATABASE_HOST": "127.0.0.1",
            "TRACKING_SERVER_DATABASE_PORT": str(self.postgres.port),
            "TRACKING_SERVER_DATABASE_SSLMODE": "disable",  # this Postgres has no certificate
            "TRACKING_SERVER_HOST": "127.0.0.1",
            "TRACKING_SERVER_PORT": str(port),
        }

    def environment(self, container: str, port: int = 5000) -> dict[str, str]:
        """Return the environment of a container's command when it runs on this machine."""
        shell = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MLFLOW_", "TRACKING_SERVER_", "AWS_"))
        }
        return shell | self.variables(container, port)

    def run(self, container: str, **changes: str) -> "subprocess.CompletedProcess[str]":
        """Run a container's command and wait until it exits."""
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
        """Run a task of the service and yield its address."""
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
                _wait_until_healthy(f"http://127.0.0.1:{port}", process, folder / f"{port}.log")
                yield f"http://127.0.0.1:{port}"
            finally:
                process.terminate()
                process.wait(30)

    @contextmanager
    def serving_container(self, image: str) -> Iterator[str]:
        """Run the task's containers from an image, the migration first; yield the address."""
        port = find_free_port()
        with running_container(image, self, "migrate", port) as migrate:
            assert engine("wait", migrate) == "0", engine("logs", migrate)
        with running_container(image, self, "serve", port) as serve:
            deadline = time.monotonic() + START_SECONDS
            while not is_healthy(f"http://127.0.0.1:{port}"):
                assert time.monotonic() < deadline, engine("logs", serve)
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"


def task_of(
    account: Account, stage: Stage, postgres: Postgres, outputs: Mapping[StackOutput, str]
) -> Task:
    """Return the task that a stage's service runs, with the database on this machine."""
    definition = account.client("ecs").describe_task_definition(
        taskDefinition=f"{stage.prefix}-mlflow"
    )["taskDefinition"]
    containers = {container["name"]: container for container in definition["containerDefinitions"]}
    task = Task(account, postgres, outputs, containers)
    # Postgres's password contains characters that must be escaped in a URI and in MLflow's auth
    # configuration; a generated one doesn't.
    account.client("secretsmanager").put_secret_value(
        SecretId=task.secret_arn("TRACKING_SERVER_DATABASE_PASSWORD"),
        SecretString=postgres.password,
    )
    return task


@contextmanager
def running_container(image: str, task: Task, container: str, port: int) -> Iterator[str]:
    """Run a container of the task definition; passwords are not part of its command line."""
    definition, variables = task.containers[container], task.variables(container, port)
    assert definition["readonlyRootFilesystem"] is True
    mounts = [mount["containerPath"] for mount in definition["mountPoints"]]
    assert mounts == ["/tmp"]  # noqa: S108
    name = engine(
        *("run", "--detach", "--network=host", "--read-only", "--tmpfs=/tmp"),
        *(f"--user={definition['user']}", *(f"--env={name}" for name in variables)),
        *(image, *definition["command"]),
        environment=variables,
    )
    try:
        yield name
    finally:
        engine("rm", "--force", name, check=False)


def is_healthy(address: str) -> bool:
    """Return the result of the load balancer's health check."""
    try:
        return requests.get(f"{address}/health", timeout=2).ok
    except (requests.ConnectionError, requests.Timeout):
        return False


def _wait_until_healthy(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not is_healthy(address):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def call(
    address: str, path: str, auth: tuple[str, str] | None = None, version: str = "2.0", **more: Any
) -> requests.Response:
    """Send a request to MLflow's API."""
    method = "POST" if "json" in more else "GET"
    uri = f"{address}/api/{version}/mlflow/{path}"
    return requests.request(method, uri, auth=auth, timeout=30, **more)
