"""Fixtures: a stage's stacks in an emulated account, a real Postgres, and the MLflow server."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.app import build_app
from tests.emulator.account import Account, emulated_account
from tests.infra.conftest import StageTemplates, stage_with
from tests.infra.stacks import create_stacks
from tests.mlflow_server.postgres import Postgres
from tests.mlflow_server.task import Task, task_of


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with emulated_account(tmp_path_factory.mktemp("account")) as account:
        yield account


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    server.execute("CREATE DATABASE mlflow", database="postgres")
    yield server
    server.remove()


@pytest.fixture(scope="module")
def task(account: Account, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Task:
    folder, stage = tmp_path_factory.mktemp("stacks"), stage_with("dev", {})
    build_app(stage, str(folder)).synth()
    outputs = create_stacks(account, StageTemplates(stage, folder))
    return task_of(account, stage, postgres, outputs)


@pytest.fixture(scope="module")
def address(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    # Two migrations at the same time, as when two tasks start.
    with ThreadPoolExecutor(2) as pool:
        migrations = list(pool.map(lambda _: task.run("migrate"), range(2)))
    assert [done.returncode for done in migrations] == [0, 0], migrations
    with task.serving(tmp_path_factory.mktemp("server")) as address:
        yield address


@pytest.fixture
def as_training(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """Configure MLflow's client as the environment of a training job does."""
    user, password = task.training
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
