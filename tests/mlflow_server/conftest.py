"""A stage's stacks in an emulated account, a real Postgres, and the tracking host over both."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.app import build
from tests.emulator.account import Account, emulated_account
from tests.infra.conftest import Synthesised, stage_with
from tests.infra.stacks import create_stacks
from tests.mlflow_server.postgres import Postgres
from tests.mlflow_server.task import Task


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with emulated_account(tmp_path_factory.mktemp("account")) as account:
        yield account


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    server.ask("CREATE DATABASE mlflow", database="postgres")
    yield server
    server.remove()


@pytest.fixture(scope="module")
def task(account: Account, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Task:
    folder, stage = tmp_path_factory.mktemp("stacks"), stage_with("dev", {})
    build(stage, str(folder)).synth()
    outputs = create_stacks(account, Synthesised(stage, folder))
    found = account.client("ecs").describe_task_definition(taskDefinition=f"{stage.prefix}-mlflow")[
        "taskDefinition"
    ]
    task = Task(
        account, postgres, outputs, {one["name"]: one for one in found["containerDefinitions"]}
    )
    # With what has to be escaped in a URI and in MLflow's file, which a generated one has not.
    (password,) = [
        one["valueFrom"]
        for one in task.containers["serve"]["secrets"]
        if one["name"] == "TRACKING_SERVER_DATABASE_PASSWORD"
    ]
    account.client("secretsmanager").put_secret_value(
        SecretId=password, SecretString=postgres.password
    )
    return task


@pytest.fixture(scope="module")
def address(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    # Two at once, as two tasks start.
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: task.run("migrate"), range(2)))
    assert [done.returncode for done in both] == [0, 0], both
    with task.serving(tmp_path_factory.mktemp("server")) as address:
        yield address


@pytest.fixture
def as_training(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """What MLflow's client is told by a training job's environment."""
    user, password = task.training
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
