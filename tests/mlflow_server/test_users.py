"""People at the private MLflow: `make ui TARGET=aws` and `make mlflow-user`, through a port."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from mlflow import MlflowClient

from contract.names import StackOutput, image_digest_parameter
from contract.paths import PROJECT_ROOT
from endpoints.ports import find_free_port
from tests.infra.conftest import stage_with
from tests.mlflow_server.postgres import find_binaries
from tests.mlflow_server.task import Task, call

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_binaries() is None, reason="no Postgres here: Debian's package is postgresql"
    ),
]
STAGE = stage_with("dev", {})


@pytest.fixture(scope="module")
def image(task: Task) -> None:
    """There is an image, as far as the commands look."""
    task.account.client("ssm").put_parameter(
        Name=image_digest_parameter(STAGE),
        Value="sha256:" + "ab" * 32,
        Type="String",
        Overwrite=True,
    )


@pytest.fixture
def shell(task: Task, address: str, image: None, tmp_path: Path) -> dict[str, str]:
    """A shell that has the plugin, and credentials of the account."""
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


def show(shell: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Ask for the UI, where it is not to be had."""
    return run(shell, "scripts.ui", "--target", "aws", "--port", str(find_free_port()))


@pytest.fixture
def nothing_left(task: Task) -> Iterator[None]:
    """Whatever became of the command, what it started is ended."""
    yield
    ecs, cluster = task.account.client("ecs"), task.outputs[StackOutput.MLFLOW_CLUSTER]
    tasks = ecs.list_tasks(cluster=cluster)["taskArns"]
    states = ecs.describe_tasks(cluster=cluster, tasks=tasks)["tasks"] if tasks else []
    assert {one["lastStatus"] for one in states} <= {"STOPPED"}
    assert not task.account.client("ssm").describe_sessions(State="Active")["Sessions"]


def start_ui(shell: dict[str, str], port: int) -> tuple["subprocess.Popen[str]", str]:
    """The command, when it has said that the UI is there; and all that it has said."""
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.ui", "--target", "aws", "--port", str(port)],
        cwd=PROJECT_ROOT,
        env=shell,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = ""
    while "until Ctrl-C" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    return process, said


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "term"]
)
def test_the_ui_is_there_until_it_is_ended(
    shell: dict[str, str], task: Task, number: int, code: int, nothing_left: None
) -> None:
    port = find_free_port()
    process, said = start_ui(shell, port)

    page = requests.get(f"http://127.0.0.1:{port}/", auth=task.admin, timeout=10)
    assert "<title>MLflow</title>" in page.text
    assert requests.get(f"http://127.0.0.1:{port}/", timeout=10).status_code == 401
    (session,) = task.account.client("ssm").describe_sessions(State="Active")["Sessions"]
    assert session["DocumentName"] == "AWS-StartPortForwardingSessionToRemoteHost"

    process.send_signal(number)
    said += process.communicate(timeout=20)[1]
    assert process.returncode == code, said
    assert said.splitlines()[-2:] == ["Stopped the task", "interrupted"]
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{port}/", timeout=5)


def test_a_session_that_aws_ends_is_said(shell: dict[str, str], nothing_left: None) -> None:
    process, said = start_ui(shell, find_free_port())
    (plugin,) = psutil.Process(process.pid).children()
    plugin.terminate()

    said += process.communicate(timeout=20)[1]

    assert process.returncode == 2
    assert said.splitlines()[-2] == "Stopped the task"
    assert said.splitlines()[-1].startswith("error: the session has ended; session-manager-plugin")


def test_somebody_new_may_read_everything_and_change_nothing(
    shell: dict[str, str], address: str, task: Task, as_training: None, nothing_left: None
) -> None:
    client = MlflowClient(address)
    before = client.create_experiment("from-before")

    done = run(shell, "scripts.mlflow_user", "anna")

    assert done.returncode == 0, done.stderr
    assert "anna has READ on all experiments" in done.stderr
    anna = ("anna", done.stdout.strip())
    assert len(anna[1]) >= 20
    assert anna[1] not in done.stderr
    later = client.create_experiment("from-later")
    client.create_registered_model("houses")
    for experiment in (before, later):
        assert call(address, f"experiments/get?experiment_id={experiment}", anna).status_code == 200
    assert call(address, "registered-models/get?name=houses", anna).status_code == 200
    changed = {"experiment_id": before, "new_name": "mine"}
    assert call(address, "experiments/update", anna, json=changed).status_code == 403

    # Again changes nothing, and says so.
    done = run(shell, "scripts.mlflow_user", "anna")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "anna is there already" in done.stderr

    # More, on one of them; the password stays.
    done = run(
        *(shell, "scripts.mlflow_user", "anna"),
        *("--permission", "edit", "--experiment", "from-before", "--model", "houses"),
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "anna has EDIT on experiment from-before" in done.stderr
    assert call(address, "experiments/update", anna, json=changed).status_code == 200
    changed = {"experiment_id": later, "new_name": "mine as well"}
    assert call(address, "experiments/update", anna, json=changed).status_code == 403

    # Nothing any more, but for that one.
    assert run(shell, "scripts.mlflow_user", "anna", "--permission", "none").returncode == 0
    assert call(address, f"experiments/get?experiment_id={later}", anna).status_code == 403
    assert call(address, f"experiments/get?experiment_id={before}", anna).status_code == 200

    done = run(shell, "scripts.mlflow_user", "anna", "--new-password")
    assert done.returncode == 0, done.stderr
    path = f"experiments/get?experiment_id={before}"
    assert call(address, path, anna).status_code == 401
    assert call(address, path, ("anna", done.stdout.strip())).status_code == 200

    assert run(shell, "scripts.mlflow_user", "anna", "--remove").returncode == 0
    assert call(address, path, ("anna", done.stdout.strip())).status_code == 401


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
    ids=["admin", "experiment", "model", "remove", "permission", "nobody"],
)
def test_what_is_wrong_is_one_line_and_nothing_is_changed(
    shell: dict[str, str],
    task: Task,
    address: str,
    arguments: tuple[str, ...],
    message: str,
    nothing_left: None,
) -> None:
    done = run(shell, "scripts.mlflow_user", *arguments)

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(message), done.stderr
    assert "Traceback" not in done.stderr
    users = call(address, "users/list", task.admin).json()["users"]
    assert {one["username"] for one in users} == {"admin", "training"}


def test_a_missing_plugin_is_said(shell: dict[str, str], nothing_left: None) -> None:
    bare = {**shell, "PATH": "/usr/bin:/bin"}

    done = show(bare)

    assert done.returncode == 2
    assert done.stderr.startswith("error: session-manager-plugin is not installed: ")


def test_a_way_that_leads_nowhere_is_said(shell: dict[str, str], nothing_left: None) -> None:
    done = show({**shell, "EMULATED_HOSTS": "{}"})

    assert done.returncode == 2
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert said.startswith("error: the session has ended; session-manager-plugin says: Connection")


def test_a_stage_that_runs_nothing_yet_is_said(
    shell: dict[str, str], task: Task, nothing_left: None
) -> None:
    parameters: dict[str, Any] = {"Name": image_digest_parameter(STAGE), "Overwrite": True}
    ssm = task.account.client("ssm")
    before = ssm.get_parameter(Name=image_digest_parameter(STAGE))["Parameter"]["Value"]
    ssm.put_parameter(**parameters, Value="none", Type="String")
    try:
        done = show(shell)
    finally:
        ssm.put_parameter(**parameters, Value=before, Type="String")

    assert done.returncode == 2
    assert done.stderr == (
        "error: MLflow of house-prices-dev runs nothing yet: `make deploy` pushes its image\n"
    )


def test_a_stage_that_is_not_deployed_is_said(shell: dict[str, str]) -> None:
    email = {"STACK_STAGES__PROD__ALARM_EMAIL": "team@example.com", "STACK_STAGE": "prod"}
    began = time.monotonic()

    done = show({**shell, **email})

    assert done.returncode == 2
    assert done.stderr.startswith("error: stack house-prices-prod-base isn't deployed")
    assert time.monotonic() - began < 20
