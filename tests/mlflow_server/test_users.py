"""`make ui TARGET=aws` and `make mlflow-user`: a private MLflow through a forwarded port."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests
from mlflow import MlflowClient

from contract.names import NO_IMAGE, Image, StackOutput, image_digest_parameter
from contract.paths import PROJECT_ROOT
from endpoints.ports import find_free_port
from mlflow_server.server import AUTH_CACHE_SECONDS
from tests.helpers import wait_until
from tests.infra.conftest import stage_with
from tests.mlflow_server.postgres import needs_postgres
from tests.mlflow_server.task import Task, call

pytestmark = [pytest.mark.slow, needs_postgres]
STAGE = stage_with("dev", {})
FORGOTTEN_SECONDS = AUTH_CACHE_SECONDS + 5


def put_image_digest(task: Task, digest: str) -> None:
    task.account.client("ssm").put_parameter(
        Name=image_digest_parameter(STAGE, Image.MLFLOW),
        Value=digest,
        Type="String",
        Overwrite=True,
    )


@pytest.fixture(scope="module")
def image(task: Task) -> str:
    """Store the digest of an image, as after a push; the commands read nothing else of it."""
    digest = "sha256:" + "ab" * 32
    put_image_digest(task, digest)
    return digest


@pytest.fixture
def shell(task: Task, address: str, image: str, tmp_path: Path) -> dict[str, str]:
    """An environment with the plugin and the account's credentials."""
    plugin = tmp_path / "session-manager-plugin"
    plugin.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.emulator.plugin "$@"\n')
    plugin.chmod(0o755)
    host = task.outputs[StackOutput.MLFLOW_URI].partition("://")[2]
    return {
        **os.environ,
        **task.account.environment,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "STACK_STAGE": "dev",
        "EMULATED_HOSTS": json.dumps({f"{host}:80": address.partition("://")[2]}),
    }


def run(shell: dict[str, str], module: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=PROJECT_ROOT,
        env=shell,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def run_ui(shell: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run `ui`, which is expected to fail."""
    return run(shell, "scripts.ui", "--target", "aws", "--port", str(find_free_port()))


@pytest.fixture
def cleanup_check(task: Task) -> Iterator[None]:
    """Check that the command has stopped its task and session, whether it failed or not."""
    yield
    ecs, cluster = task.account.client("ecs"), task.outputs[StackOutput.MLFLOW_CLUSTER]
    arns = ecs.list_tasks(cluster=cluster)["taskArns"]
    tasks = ecs.describe_tasks(cluster=cluster, tasks=arns)["tasks"] if arns else []
    assert {task["lastStatus"] for task in tasks} <= {"STOPPED"}
    assert not task.account.client("ssm").describe_sessions(State="Active")["Sessions"]


def start_ui(shell: dict[str, str], port: int) -> tuple["subprocess.Popen[str]", str]:
    """Start `ui`; return it once the UI is available, with the log so far."""
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.ui", "--target", "aws", "--port", str(port)],
        cwd=PROJECT_ROOT,
        env=shell,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    log = ""
    while "until Ctrl-C" not in log:
        line = process.stderr.readline()
        assert line, log
        log += line
    return process, log


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "term"]
)
def test_ui_is_available_until_it_is_interrupted(
    shell: dict[str, str], task: Task, number: int, code: int, cleanup_check: None
) -> None:
    port = find_free_port()
    process, log = start_ui(shell, port)

    page = requests.get(f"http://127.0.0.1:{port}/", auth=task.admin, timeout=10)
    assert "<title>MLflow</title>" in page.text
    assert requests.get(f"http://127.0.0.1:{port}/", timeout=10).status_code == 401
    (session,) = task.account.client("ssm").describe_sessions(State="Active")["Sessions"]
    assert session["DocumentName"] == "AWS-StartPortForwardingSessionToRemoteHost"

    process.send_signal(number)
    log += process.communicate(timeout=20)[1]
    assert process.returncode == code, log
    assert log.splitlines()[-2:] == ["Stopped the bastion task", "interrupted"]
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{port}/", timeout=5)


def test_session_closed_by_aws_is_reported(shell: dict[str, str], cleanup_check: None) -> None:
    process, log = start_ui(shell, find_free_port())
    (plugin,) = psutil.Process(process.pid).children()
    plugin.terminate()

    log += process.communicate(timeout=20)[1]

    assert process.returncode == 2
    assert log.splitlines()[-2] == "Stopped the bastion task"
    assert log.splitlines()[-1].startswith(
        "error: the session was closed; session-manager-plugin: "
    )


def test_users_have_the_permissions_that_were_granted(
    shell: dict[str, str], address: str, task: Task, as_training: None, cleanup_check: None
) -> None:
    client = MlflowClient(address)
    earlier = client.create_experiment("earlier")

    done = run(shell, "scripts.mlflow_user", "anna")

    # A new user can read everything, also what is created later, and change nothing.
    assert done.returncode == 0, done.stderr
    assert "anna has READ on all experiments" in done.stderr
    anna = ("anna", done.stdout.strip())
    assert len(anna[1]) >= 20
    assert anna[1] not in done.stderr
    later = client.create_experiment("later")
    client.create_registered_model("houses")
    for experiment in (earlier, later):
        assert call(address, f"experiments/get?experiment_id={experiment}", anna).status_code == 200
    assert call(address, "registered-models/get?name=houses", anna).status_code == 200
    update = {"experiment_id": earlier, "new_name": "renamed"}
    assert call(address, "experiments/update", anna, json=update).status_code == 403

    # The same command again changes nothing and reports that.
    done = run(shell, "scripts.mlflow_user", "anna")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "anna already exists" in done.stderr

    # A higher permission on one experiment; the password stays the same.
    done = run(
        *(shell, "scripts.mlflow_user", "anna"),
        *("--permission", "edit", "--experiment", "earlier", "--model", "houses"),
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "anna has EDIT on experiment earlier" in done.stderr
    assert call(address, "experiments/update", anna, json=update).status_code == 200
    update = {"experiment_id": later, "new_name": "renamed too"}
    assert call(address, "experiments/update", anna, json=update).status_code == 403

    # Without the permission on all experiments, the one on a single experiment remains.
    assert run(shell, "scripts.mlflow_user", "anna", "--permission", "none").returncode == 0
    assert call(address, f"experiments/get?experiment_id={later}", anna).status_code == 403
    assert call(address, f"experiments/get?experiment_id={earlier}", anna).status_code == 200

    done = run(shell, "scripts.mlflow_user", "anna", "--new-password")
    assert done.returncode == 0, done.stderr
    path = f"experiments/get?experiment_id={earlier}"
    new = ("anna", done.stdout.strip())
    assert call(address, path, new).status_code == 200
    wait_until(lambda: call(address, path, anna).status_code == 401, FORGOTTEN_SECONDS)

    assert run(shell, "scripts.mlflow_user", "anna", "--remove").returncode == 0
    wait_until(lambda: call(address, path, new).status_code == 401, FORGOTTEN_SECONDS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("admin",), "error: admin is the stack's own user"),
        (("bert", "--experiment", "none"), "error: MLflow: 404: Could not find experiment"),
        (("bert", "--model", "none"), "error: MLflow: 404: Registered Model with name=none"),
        (("bert", "--remove"), "error: MLflow: 404: User with username=bert not found"),
        (("bert", "--permission", "own"), "error: Invalid value for '--permission'"),
        ((), "error: Missing argument 'name'"),
    ],
    ids=["admin", "experiment", "model", "remove", "permission", "no-name"],
)
def test_errors_are_reported_in_one_line_and_change_nothing(
    shell: dict[str, str],
    task: Task,
    address: str,
    arguments: tuple[str, ...],
    message: str,
    cleanup_check: None,
) -> None:
    users = call(address, "users/list", task.admin).json()["users"]

    done = run(shell, "scripts.mlflow_user", *arguments)

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(message), done.stderr
    assert "Traceback" not in done.stderr
    assert call(address, "users/list", task.admin).json()["users"] == users


def test_missing_plugin_is_reported(shell: dict[str, str], cleanup_check: None) -> None:
    done = run_ui({**shell, "PATH": "/usr/bin:/bin"})

    assert done.returncode == 2
    assert done.stderr.startswith("error: session-manager-plugin is not installed")


def test_unreachable_host_is_reported(shell: dict[str, str], cleanup_check: None) -> None:
    done = run_ui({**shell, "EMULATED_HOSTS": "{}"})

    assert done.returncode == 2
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert error.startswith("error: the session was closed; session-manager-plugin: Connection")


def test_stage_without_an_image_is_reported(
    shell: dict[str, str], task: Task, image: str, cleanup_check: None
) -> None:
    put_image_digest(task, NO_IMAGE)
    try:
        done = run_ui(shell)
    finally:
        put_image_digest(task, image)

    assert done.returncode == 2
    assert done.stderr == (
        "error: MLflow of house-prices-dev has no image yet; run make deploy to push one\n"
    )


def test_stage_that_is_not_deployed_is_reported(shell: dict[str, str]) -> None:
    prod = {"STACK_STAGES__PROD__ALARM_EMAIL": "team@example.com", "STACK_STAGE": "prod"}
    started = time.monotonic()

    done = run_ui({**shell, **prod})

    assert done.returncode == 2
    assert done.stderr.startswith("error: stack house-prices-prod-base is not deployed")
    assert time.monotonic() - started < 20
