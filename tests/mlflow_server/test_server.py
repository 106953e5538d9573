"""The tracking host as Fargate runs it: its commands and variables, a real Postgres, and S3."""

import os
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import requests
from alembic.command import downgrade
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.db.utils import _get_alembic_config
from sqlalchemy import URL

from contract.names import StackOutput
from mlflow_server.__main__ import main
from mlflow_server.config import Config
from tests.mlflow_server.postgres import USER, find_binaries
from tests.mlflow_server.task import Task, call

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_binaries() is None, reason="no Postgres here: Debian's package is postgresql"
    ),
]


def test_the_variables_are_what_the_host_knows(task: Task) -> None:
    """A variable that it doesn't know would be one that nobody reads."""
    told = {
        one["name"]
        for container in task.containers.values()
        for one in (*container["environment"], *container["secrets"])
    }
    known = {f"TRACKING_{name.upper()}" for name in Config.model_fields}
    assert told - known == {"AWS_DEFAULT_REGION"}


def test_without_credentials_nothing_is_answered(address: str) -> None:
    for path in ("experiments/search?max_results=1", "registered-models/search", "users/list"):
        assert call(address, path).status_code == 401
    assert requests.get(f"{address}/", timeout=10).status_code == 401
    assert call(address, "experiments/search?max_results=1", ("admin", "wrong")).status_code == 401
    assert requests.get(f"{address}/health", timeout=10).status_code == 200


def test_a_foreign_host_is_refused(address: str, task: Task) -> None:
    path, own = "experiments/search?max_results=1", task.outputs[StackOutput.MLFLOW_URI]
    host = own.partition("://")[2]

    refused = call(address, path, task.admin, headers={"Host": "evil.example.com"})
    assert refused.status_code == 403
    assert "Invalid Host header" in refused.text
    assert call(address, path, task.admin, headers={"Host": host}).status_code == 200


def test_its_own_page_may_change_things_and_a_foreign_one_not(address: str, task: Task) -> None:
    own = task.outputs[StackOutput.MLFLOW_URI]
    headers = {"Host": own.partition("://")[2]}
    made = {
        origin: call(
            address,
            "experiments/create",
            task.admin,
            json={"name": f"by {origin}"},
            headers={**headers, "Origin": origin},
        ).status_code
        for origin in (own, "http://127.0.0.1:5000", "https://evil.example.com")
    }

    assert made == {own: 200, "http://127.0.0.1:5000": 200, "https://evil.example.com": 403}


def test_artifacts_go_to_s3_through_the_server(
    address: str, task: Task, tmp_path: Path, as_training: None, monkeypatch: Any
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
    bucket = task.outputs[StackOutput.ARTIFACT_BUCKET]
    held = task.account.client("s3").list_objects_v2(Bucket=bucket)["Contents"]
    (key,) = [one["Key"] for one in held if one["Key"].endswith("table.csv")]
    assert key.startswith("runs/")
    copy = client.download_artifacts(run.info.run_id, "table.csv", str(tmp_path))
    assert Path(copy).read_text() == "a,b\n1,2\n"


def test_it_reports_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow would tell its makers what it is used for."""
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY")

    main([])

    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_no_client_is_sent_to_the_bucket(address: str, task: Task) -> None:
    found = call(address, "experiments/get?experiment_id=0", task.admin).json()

    assert found["experiment"]["artifact_location"].startswith("mlflow-artifacts:/")


def test_a_connection_outlives_some_quiet_seconds(address: str) -> None:
    """The load balancer keeps connections, and would send a request into one that is closing."""
    host, _, port = address.removeprefix("http://").partition(":")
    connection = HTTPConnection(host, int(port), timeout=10)
    for _ in range(2):
        connection.request("GET", "/health")
        assert connection.getresponse().read() == b"OK"
        first = connection.sock
        time.sleep(6)  # uvicorn's own patience is 5
        assert connection.sock is first
    connection.close()


def test_a_new_user_sees_nothing_until_it_is_granted(
    address: str, task: Task, as_training: None
) -> None:
    experiment = MlflowClient(address).create_experiment("of-the-training")
    somebody = ("somebody", "somebodys-password")
    made = call(
        address,
        "users/create",
        task.admin,
        json={"username": somebody[0], "password": somebody[1]},
    )
    assert made.ok, made.text
    path = f"experiments/get?experiment_id={experiment}"

    assert call(address, path, somebody).status_code == 403
    granted = call(
        address,
        "users/permissions/grant",
        task.admin,
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
    address: str, task: Task, tmp_path: Path, as_training: None
) -> None:
    experiment = MlflowClient(address).create_experiment("shared")
    run = MlflowClient(address).create_run(experiment)
    with task.serving(tmp_path) as second:
        MlflowClient(second).log_metric(run.info.run_id, "RMSE", 1.5)
        assert MlflowClient(address).get_run(run.info.run_id).data.metrics == {"RMSE": 1.5}
    with task.serving(tmp_path) as third:
        assert MlflowClient(third).get_run(run.info.run_id).data.metrics == {"RMSE": 1.5}


def test_a_database_that_is_away_for_20_s_loses_and_doubles_nothing(
    address: str, task: Task, as_training: None
) -> None:
    client = MlflowClient(address)
    experiment = client.create_experiment("through-an-outage")
    before = client.create_run(experiment, run_name="before")
    task.postgres.stop()
    gone = time.monotonic()
    try:
        began = time.monotonic()
        answer = call(
            address,
            "runs/create",
            task.training,
            json={"experiment_id": experiment, "run_name": "meanwhile"},
        )
        assert answer.status_code >= 500  # an error, and in time
        assert time.monotonic() - began < 30
        with pytest.raises(MlflowException):
            client.log_metric(before.info.run_id, "RMSE", 1.0)
        time.sleep(max(0.0, 20 - (time.monotonic() - gone)))
    finally:
        task.postgres.start()

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


def test_an_old_schema_is_migrated_before_the_server_starts(task: Task, address: str) -> None:
    postgres = task.postgres
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

    done = task.run("migrate")

    assert done.returncode == 0, done.stderr
    assert postgres.ask("SELECT version_num FROM alembic_version") == [head]


def test_a_newer_schema_is_refused_by_an_older_server(task: Task, address: str) -> None:
    ask = task.postgres.ask
    ((head,),) = ask("SELECT version_num FROM alembic_version")
    ask("UPDATE alembic_version SET version_num = 'of-the-future'")
    try:
        refused = task.run("serve")
    finally:
        ask(f"UPDATE alembic_version SET version_num = '{head}'")  # noqa: S608

    assert refused.returncode != 0
    assert "out-of-date database schema (found version of-the-future" in refused.stderr


def test_a_changed_password_is_taken_over_at_the_next_start(task: Task, address: str) -> None:
    user, password = task.training
    path = "experiments/search?max_results=1"
    for now in ("another-password-now", password):
        assert task.run("migrate", TRACKING_SERVER_TRAINING_PASSWORD=now).returncode == 0
        assert call(address, path, (user, now)).status_code == 200


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"TRACKING_SERVER_ADMIN_PASSWORD": "short"},
            "environment: TRACKING_SERVER_ADMIN_PASSWORD: ",
        ),
        ({"TRACKING_SERVER_ARTIFACTS": "/tmp"}, "environment: TRACKING_SERVER_ARTIFACTS: "),  # noqa: S108
        ({"TRACKING_SERVER_DATABASE_PORT": "1"}, "the database at 127.0.0.1: "),
    ],
)
def test_what_is_wrong_is_one_line_without_the_password(
    task: Task, variables: dict[str, str], message: str
) -> None:
    done = task.run("migrate", **variables)

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"error: {message}")
    assert "Traceback" not in done.stderr
    assert task.postgres.password not in done.stderr
    assert "short" not in done.stderr.splitlines()[-1].partition("PASSWORD: ")[2].replace(
        "too short", ""
    )
