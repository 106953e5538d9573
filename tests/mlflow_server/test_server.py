"""The MLflow server, run with its Fargate task's commands and variables, a real Postgres and S3."""

import os
import time
from http.client import HTTPConnection
from pathlib import Path

import pytest
import requests
from alembic.command import downgrade
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.db.utils import _get_alembic_config
from sqlalchemy import URL

from contract.names import StackOutput
from mlflow_server.__main__ import main
from mlflow_server.config import ENV_PREFIX, ServerConfig
from tests.mlflow_server.postgres import USER, needs_postgres
from tests.mlflow_server.task import Task, call

pytestmark = [pytest.mark.slow, needs_postgres]
SEARCH_EXPERIMENTS = "experiments/search?max_results=1"


def test_variables_of_the_task_are_fields_of_the_configuration(task: Task) -> None:
    """Pydantic ignores an unknown variable silently."""
    variables = {
        variable["name"]
        for container in task.containers.values()
        for variable in (*container["environment"], *container["secrets"])
    }
    fields = {f"{ENV_PREFIX}{name.upper()}" for name in ServerConfig.model_fields}
    assert variables - fields == {"AWS_DEFAULT_REGION"}


def test_requests_without_credentials_are_rejected(address: str) -> None:
    for path in (SEARCH_EXPERIMENTS, "registered-models/search", "users/list"):
        assert call(address, path).status_code == 401
    assert requests.get(f"{address}/", timeout=10).status_code == 401
    assert call(address, SEARCH_EXPERIMENTS, ("admin", "wrong")).status_code == 401
    assert requests.get(f"{address}/health", timeout=10).status_code == 200


def test_unknown_host_header_is_rejected(address: str, task: Task) -> None:
    host = task.outputs[StackOutput.MLFLOW_URI].partition("://")[2]

    rejected = call(address, SEARCH_EXPERIMENTS, task.admin, headers={"Host": "evil.example.com"})
    assert rejected.status_code == 403
    assert "Invalid Host header" in rejected.text
    assert call(address, SEARCH_EXPERIMENTS, task.admin, headers={"Host": host}).status_code == 200


def test_requests_of_its_own_ui_are_accepted_and_cross_origin_ones_rejected(
    address: str, task: Task
) -> None:
    own = task.outputs[StackOutput.MLFLOW_URI]
    headers = {"Host": own.partition("://")[2]}
    statuses = {
        origin: call(
            address,
            "experiments/create",
            task.admin,
            json={"name": f"by {origin}"},
            headers={**headers, "Origin": origin},
        ).status_code
        for origin in (own, "http://127.0.0.1:5000", "https://evil.example.com")
    }

    assert statuses == {own: 200, "http://127.0.0.1:5000": 200, "https://evil.example.com": 403}


def test_artifacts_are_proxied_to_s3(
    address: str,
    task: Task,
    tmp_path: Path,
    as_training: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The client has no permissions on the bucket, and not even an S3 endpoint.
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    client = MlflowClient(address)
    experiment = client.create_experiment("proxied-artifacts")
    run = client.create_run(experiment)
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")

    client.log_artifact(run.info.run_id, str(tmp_path / "table.csv"))

    assert run.info.artifact_uri.startswith("mlflow-artifacts:")
    bucket = task.outputs[StackOutput.ARTIFACT_BUCKET]
    objects = task.account.client("s3").list_objects_v2(Bucket=bucket)["Contents"]
    (key,) = [entry["Key"] for entry in objects if entry["Key"].endswith("table.csv")]
    assert key.startswith("runs/")
    copy = client.download_artifacts(run.info.run_id, "table.csv", str(tmp_path))
    assert Path(copy).read_text() == "a,b\n1,2\n"


def test_telemetry_is_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default, MLflow sends usage data to its developers."""
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY")

    main([])

    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_default_experiment_has_proxied_artifacts(address: str, task: Task) -> None:
    response = call(address, "experiments/get?experiment_id=0", task.admin).json()

    assert response["experiment"]["artifact_location"].startswith("mlflow-artifacts:/")


def test_keep_alive_outlasts_several_idle_seconds(address: str) -> None:
    """The load balancer reuses connections, and could send a request into a closing one."""
    host, _, port = address.removeprefix("http://").partition(":")
    connection = HTTPConnection(host, int(port), timeout=10)
    for _ in range(2):
        connection.request("GET", "/health")
        assert connection.getresponse().read() == b"OK"
        first = connection.sock
        time.sleep(6)  # uvicorn's default keep-alive timeout is 5 s
        assert connection.sock is first
    connection.close()


def test_new_user_sees_nothing_without_a_permission(
    address: str, task: Task, as_training: None
) -> None:
    experiment = MlflowClient(address).create_experiment("owned-by-training")
    user = ("new-user", "new-user-password")
    created = call(
        address,
        "users/create",
        task.admin,
        json={"username": user[0], "password": user[1]},
    )
    assert created.ok, created.text
    path = f"experiments/get?experiment_id={experiment}"

    assert call(address, path, user).status_code == 403
    granted = call(
        address,
        "users/permissions/grant",
        task.admin,
        version="3.0",
        json={
            "username": user[0],
            "resource_type": "experiment",
            "resource_id": experiment,
            "permission": "READ",
        },
    )
    assert granted.ok, granted.text

    assert call(address, path, user).status_code == 200
    update = {"experiment_id": experiment, "new_name": "renamed"}
    assert call(address, "experiments/update", user, json=update).status_code == 403


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


def test_database_outage_of_20_s_loses_and_duplicates_nothing(
    address: str, task: Task, as_training: None
) -> None:
    client = MlflowClient(address)
    experiment = client.create_experiment("database-outage")
    before = client.create_run(experiment, run_name="before")
    task.postgres.stop()
    stopped = time.monotonic()
    try:
        sent = time.monotonic()
        response = call(
            address,
            "runs/create",
            task.training,
            json={"experiment_id": experiment, "run_name": "during"},
        )
        assert response.status_code >= 500  # an error response, within the timeout
        assert time.monotonic() - sent < 30
        with pytest.raises(MlflowException):
            client.log_metric(before.info.run_id, "RMSE", 1.0)
        time.sleep(max(0.0, 20 - (time.monotonic() - stopped)))
    finally:
        task.postgres.start()

    started = time.monotonic()
    while True:
        try:
            client.log_metric(before.info.run_id, "RMSE", 2.0)
            break
        except MlflowException:
            assert time.monotonic() - started < 30, "the server doesn't recover"
            time.sleep(0.5)
    names = [run.info.run_name for run in client.search_runs([experiment])]
    assert names == ["before"]
    assert client.get_run(before.info.run_id).data.metrics == {"RMSE": 2.0}


def test_old_schema_is_migrated_before_the_server_starts(task: Task, address: str) -> None:
    postgres = task.postgres
    (head,) = postgres.execute("SELECT version_num FROM alembic_version")
    # The schema of the previous MLflow version: without the last migration.
    uri = URL.create(
        "postgresql+psycopg2",
        username=USER,
        password=postgres.password,
        host="127.0.0.1",
        port=postgres.port,
        database="mlflow",
    ).render_as_string(hide_password=False)
    downgrade(_get_alembic_config(uri), "-1")
    (old,) = postgres.execute("SELECT version_num FROM alembic_version")
    assert old != head

    done = task.run("migrate")

    assert done.returncode == 0, done.stderr
    assert postgres.execute("SELECT version_num FROM alembic_version") == [head]


def test_old_server_refuses_a_newer_schema(task: Task, address: str) -> None:
    execute = task.postgres.execute
    ((head,),) = execute("SELECT version_num FROM alembic_version")
    execute("UPDATE alembic_version SET version_num = 'newer'")
    try:
        done = task.run("serve")
    finally:
        execute(f"UPDATE alembic_version SET version_num = '{head}'")  # noqa: S608

    assert done.returncode != 0
    assert "out-of-date database schema (found version newer" in done.stderr


def test_changed_password_is_applied_at_the_next_start(task: Task, address: str) -> None:
    user, password = task.training
    for new_password in ("another-password-now", password):
        done = task.run("migrate", TRACKING_SERVER_TRAINING_PASSWORD=new_password)
        assert done.returncode == 0
        assert call(address, SEARCH_EXPERIMENTS, (user, new_password)).status_code == 200


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ADMIN_PASSWORD", "short", "environment: TRACKING_SERVER_ADMIN_PASSWORD: "),
        ("ARTIFACTS_DESTINATION", "/data", "environment: TRACKING_SERVER_ARTIFACTS_DESTINATION: "),
        ("DATABASE_PORT", "1", "can't migrate the database at 127.0.0.1: "),
    ],
)
def test_errors_are_reported_in_one_line_without_passwords(
    task: Task, name: str, value: str, message: str
) -> None:
    done = task.run("migrate", **{f"TRACKING_SERVER_{name}": value})

    assert done.returncode == 2
    last_line = done.stderr.splitlines()[-1]
    assert last_line.startswith(f"error: {message}")
    assert "Traceback" not in done.stderr
    assert task.postgres.password not in done.stderr
    assert "short" not in last_line.partition("PASSWORD: ")[2].replace("too short", "")
