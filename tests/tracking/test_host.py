"""The tracking host as Fargate runs it: its commands and variables, a real Postgres, and S3."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from alembic.command import downgrade
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.db.utils import _get_alembic_config
from sqlalchemy import URL

from contract.settings import PROJECT
from tests.emulator.account import Account, emulated_account
from tests.tracking.postgres import USER, Postgres, find_binaries, free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_binaries() is None, reason="no Postgres here: Debian's package is postgresql"
    ),
]
BUCKET = "artifacts"
ADMIN, TRAINING = ("admin", "the-admins-password"), ("training", "the-trainings-password")
HOST = "mlflow.internal"


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with emulated_account(tmp_path_factory.mktemp("account")) as account:
        account.client("s3").create_bucket(Bucket=BUCKET)
        yield account


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    server.ask("CREATE DATABASE mlflow", database="postgres")
    yield server
    server.remove()


def environment(account: Account, postgres: Postgres, port: int = 5000) -> dict[str, str]:
    """What the task definition sets; and where S3 and the database are here."""
    shell = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MLFLOW_", "TRACKING_", "AWS_"))
    }
    return {
        **shell,
        **account.environment,
        "TRACKING_DATABASE_HOST": "127.0.0.1",
        "TRACKING_DATABASE_PORT": str(postgres.port),
        "TRACKING_DATABASE_NAME": "mlflow",
        "TRACKING_DATABASE_USER": "mlflow",
        "TRACKING_DATABASE_PASSWORD": postgres.password,
        "TRACKING_DATABASE_TLS": "disable",  # this Postgres has no certificate
        "TRACKING_ADMIN_PASSWORD": ADMIN[1],
        "TRACKING_TRAINING_PASSWORD": TRAINING[1],
        "TRACKING_FLASK_SECRET": "0123456789abcdef0123456789abcdef",
        "TRACKING_ARTIFACTS": f"s3://{BUCKET}/runs",
        "TRACKING_ALLOWED_HOSTS": f"{HOST},127.0.0.1:*,localhost:*",
        "TRACKING_HOST": "127.0.0.1",
        "TRACKING_PORT": str(port),
        "TRACKING_WORKERS": "1",
    }


def prepare(account: Account, postgres: Postgres) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tracking", "prepare"],
        cwd=PROJECT,
        env=environment(account, postgres),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@contextmanager
def serving(account: Account, postgres: Postgres, folder: Path) -> Iterator[str]:
    """A task of the service, and its address."""
    port = free_port()
    with (folder / f"{port}.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tracking", "serve"],
            cwd=PROJECT,
            env=environment(account, postgres, port),
            stdout=log,
            stderr=log,
        )
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(300):
                if process.poll() is not None:
                    raise AssertionError((folder / f"{port}.log").read_text())
                try:
                    if requests.get(f"{address}/health", timeout=2).ok:
                        break
                except requests.ConnectionError:
                    time.sleep(0.1)
            yield address
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="module")
def address(
    account: Account, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    # Two at once, as two tasks start.
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: prepare(account, postgres), range(2)))
    assert [done.returncode for done in both] == [0, 0], both
    with serving(account, postgres, tmp_path_factory.mktemp("server")) as address:
        yield address


def call(
    address: str, path: str, auth: tuple[str, str] | None = None, version: str = "2.0", **more: Any
) -> requests.Response:
    method = "POST" if "json" in more else "GET"
    uri = f"{address}/api/{version}/mlflow/{path}"
    return requests.request(method, uri, auth=auth, timeout=30, **more)


@pytest.fixture
def as_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """What MLflow's client is told by a training job's environment."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", TRAINING[0])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", TRAINING[1])
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")


def test_without_credentials_nothing_is_answered(address: str) -> None:
    for path in ("experiments/search?max_results=1", "registered-models/search", "users/list"):
        assert call(address, path).status_code == 401
    assert requests.get(f"{address}/", timeout=10).status_code == 401
    assert call(address, "experiments/search?max_results=1", ("admin", "wrong")).status_code == 401
    assert requests.get(f"{address}/health", timeout=10).status_code == 200


def test_a_foreign_host_is_refused(address: str) -> None:
    path = "experiments/search?max_results=1"

    refused = call(address, path, ADMIN, headers={"Host": "evil.example.com"})
    assert refused.status_code == 403
    assert "Invalid Host header" in refused.text
    assert call(address, path, ADMIN, headers={"Host": HOST}).status_code == 200


def test_artifacts_go_to_s3_through_the_server(
    address: str, account: Account, tmp_path: Path, as_training: None, monkeypatch: Any
) -> None:
    # The client has no right to the bucket: it doesn't even know of S3.
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    client = MlflowClient(address)
    experiment = client.create_experiment("through-the-server")
    run = client.create_run(experiment)
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")

    client.log_artifact(run.info.run_id, str(tmp_path / "table.csv"))

    assert run.info.artifact_uri.startswith("mlflow-artifacts:")
    held = account.client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]
    (key,) = [one["Key"] for one in held if one["Key"].endswith("table.csv")]
    assert key.startswith("runs/")
    copy = client.download_artifacts(run.info.run_id, "table.csv", str(tmp_path))
    assert Path(copy).read_text() == "a,b\n1,2\n"


def test_a_new_user_sees_nothing_until_it_is_granted(address: str, as_training: None) -> None:
    experiment = MlflowClient(address).create_experiment("of-the-training")
    somebody = ("somebody", "somebodys-password")
    made = call(
        address,
        "users/create",
        ADMIN,
        json={"username": somebody[0], "password": somebody[1]},
    )
    assert made.ok, made.text
    path = f"experiments/get?experiment_id={experiment}"

    assert call(address, path, somebody).status_code == 403
    granted = call(
        address,
        "users/permissions/grant",
        ADMIN,
        version="3.0",
        json={
            "username": somebody[0],
            "resource_type": "experiment",
            "resource_id": experiment,
            "permission": "READ",
        },
    )
    assert granted.ok, granted.text

    assert call(address, path, somebody).status_code == 200
    changed = {"experiment_id": experiment, "new_name": "mine"}
    assert call(address, "experiments/update", somebody, json=changed).status_code == 403


def test_two_servers_share_users_and_runs_and_a_restart_loses_nothing(
    address: str, account: Account, postgres: Postgres, tmp_path: Path, as_training: None
) -> None:
    experiment = MlflowClient(address).create_experiment("shared")
    run = MlflowClient(address).create_run(experiment)
    with serving(account, postgres, tmp_path) as second:
        MlflowClient(second).log_metric(run.info.run_id, "RMSE", 1.5)
        assert MlflowClient(address).get_run(run.info.run_id).data.metrics == {"RMSE": 1.5}
    with serving(account, postgres, tmp_path) as third:
        assert MlflowClient(third).get_run(run.info.run_id).data.metrics == {"RMSE": 1.5}


def test_a_database_that_is_away_for_20_s_loses_and_doubles_nothing(
    address: str, postgres: Postgres, as_training: None
) -> None:
    client = MlflowClient(address)
    experiment = client.create_experiment("through-an-outage")
    before = client.create_run(experiment, run_name="before")
    postgres.stop()
    gone = time.monotonic()
    try:
        began = time.monotonic()
        answer = call(
            address,
            "runs/create",
            TRAINING,
            json={"experiment_id": experiment, "run_name": "meanwhile"},
        )
        assert answer.status_code >= 500  # an error, and in time
        assert time.monotonic() - began < 30
        with pytest.raises(MlflowException):
            client.log_metric(before.info.run_id, "RMSE", 1.0)
        time.sleep(max(0.0, 20 - (time.monotonic() - gone)))
    finally:
        postgres.start()

    began = time.monotonic()
    while True:
        try:
            client.log_metric(before.info.run_id, "RMSE", 2.0)
            break
        except MlflowException:
            assert time.monotonic() - began < 30, "it doesn't recover"
            time.sleep(0.5)
    names = [run.info.run_name for run in client.search_runs([experiment])]
    assert names == ["before"]
    assert client.get_run(before.info.run_id).data.metrics == {"RMSE": 2.0}


def test_an_old_schema_is_refused_by_the_server_and_migrated_before_it_starts(
    account: Account, postgres: Postgres, address: str, tmp_path: Path
) -> None:
    (head,) = postgres.ask("SELECT version_num FROM alembic_version")
    # As the version before had left it: without the last migration.
    uri = URL.create(
        "postgresql+psycopg2",
        username=USER,
        password=postgres.password,
        host="127.0.0.1",
        port=postgres.port,
        database="mlflow",
    ).render_as_string(hide_password=False)
    downgrade(_get_alembic_config(uri), "-1")
    (old,) = postgres.ask("SELECT version_num FROM alembic_version")
    assert old != head

    done = prepare(account, postgres)

    assert done.returncode == 0, done.stderr
    assert postgres.ask("SELECT version_num FROM alembic_version") == [head]


def test_a_changed_password_is_taken_over_at_the_next_start(
    account: Account, postgres: Postgres, address: str
) -> None:
    changed = {"TRACKING_TRAINING_PASSWORD": "another-password-now"}
    path = "experiments/search?max_results=1"
    for variables, password in ((changed, "another-password-now"), ({}, TRAINING[1])):
        subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "tracking", "prepare"],
            cwd=PROJECT,
            env=environment(account, postgres) | variables,
            capture_output=True,
            timeout=120,
            check=True,
        )
        assert call(address, path, (TRAINING[0], password)).status_code == 200


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"TRACKING_ADMIN_PASSWORD": "short"}, "environment: TRACKING_ADMIN_PASSWORD: "),
        ({"TRACKING_ARTIFACTS": "/tmp"}, "environment: TRACKING_ARTIFACTS: "),  # noqa: S108
        ({"TRACKING_DATABASE_PORT": "1"}, "the database at 127.0.0.1: "),
    ],
)
def test_what_is_wrong_is_one_line_without_the_password(
    account: Account, postgres: Postgres, variables: dict[str, str], message: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tracking", "prepare"],
        cwd=PROJECT,
        env=environment(account, postgres) | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"error: {message}")
    assert "Traceback" not in done.stderr
    assert postgres.password not in done.stderr
    assert "short" not in done.stderr.splitlines()[-1].partition("PASSWORD: ")[2].replace(
        "too short", ""
    )
