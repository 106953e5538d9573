"""The local endpoint: deploy, roll back, repair and tear down real servers behind the router."""

import fcntl
import json
import os
import shutil
import signal
import socket
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from contract.errors import EndpointError, ReleaseError
from contract.release import CHECK_FILE
from endpoints.backends import Backends, check_predictions
from endpoints.local import LocalTarget
from endpoints.ports import find_free_port
from endpoints.router_process import ROUTER_MODULE
from endpoints.state import Backend, BackendType, utc_now
from tests.endpoints.conftest import Releases
from tests.endpoints.helpers import (
    ENDPOINT,
    MODEL,
    ClientLoad,
    Project,
    kill_tree,
    rebuild_manifest,
    request_body,
)
from tests.helpers import Recorder, run, start, wait_until


def test_deployment_outlives_its_command(project: Project) -> None:
    done = run("scripts.deploy", folder=project.root)

    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"Deploying the champion of {MODEL} to {ENDPOINT}\n")
    assert done.stdout.startswith(f"Live: {MODEL} version 1 (sha256 ")
    live = project.state()["live"]
    # In a session of its own, so that neither a closed terminal nor Ctrl-C stops it.
    assert os.getsid(live["pid"]) == live["pid"]
    for pid in project.pids():
        assert os.getsid(pid) != os.getsid(0)
    check = project.live_check()
    response = project.client().invoke_endpoint(
        EndpointName=ENDPOINT,
        Body=request_body(check, 20),
        ContentType="application/json",
        InferenceId="mine",
    )
    assert json.loads(response["Body"].read())["predictions"] == pytest.approx(
        check["predictions"], rel=1e-5
    )
    assert f"model={MODEL};version=1;digest=sha256:{live['digest']}" in response["CustomAttributes"]
    assert '"mine"' in (project.endpoint_folder / live["id"] / "log").read_text()


def test_deployment_and_rollback_under_load_fail_no_request(project: Project) -> None:
    project.target.deploy("1")
    first = project.state()["live"]

    with ClientLoad(project) as load:
        time.sleep(0.5)
        deployed = project.target.deploy("2")
        time.sleep(0.5)
        started = time.monotonic()
        rolled_back = project.target.rollback()
        rollback_seconds = time.monotonic() - started
        time.sleep(0.5)

    assert (deployed.live.version, deployed.changed) == ("2", True)
    assert deployed.previous is not None
    assert deployed.previous.version == "1"
    assert rolled_back.live.version == "1"
    assert rollback_seconds < 1
    assert load.failures == []
    for versions in load.versions:
        previous = ["", *versions]
        switches = [
            version
            for version, before in zip(versions, previous, strict=False)
            if version != before
        ]
        assert switches == ["1", "2", "1"]
    assert project.state()["live"]["pid"] == first["pid"]  # it was never stopped
    assert project.state()["previous"]["version"] == "2"


def test_backend_before_the_previous_one_is_stopped_under_load_without_a_failure(
    deployed_twice: Project,
) -> None:
    first = deployed_twice.state()["previous"]

    with ClientLoad(deployed_twice) as load:
        deployed_twice.target.rollback()
        # Starts another server of version 2; the one that is the previous one now is stopped.
        deployed_twice.target.deploy("2")
        time.sleep(0.3)

    assert load.failures == []
    state = deployed_twice.state()
    assert (state["live"]["version"], state["previous"]["version"]) == ("2", "1")
    assert state["previous"]["pid"] == first["pid"]
    assert deployed_twice.backend_ids() == {state["live"]["id"], state["previous"]["id"]}
    assert {state["live"]["pid"], state["previous"]["pid"]} < deployed_twice.pids()
    assert len(deployed_twice.pids()) == 5  # the router, and two servers with one worker each


def test_live_release_is_not_deployed_again(project: Project) -> None:
    project.target.deploy()
    before = project.state()

    again = run("scripts.deploy", "--version", "1", folder=project.root)
    after = project.state()
    changed = run("scripts.deploy", folder=project.root, STACK_SERVING__MAX_BODY_MB="1")

    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith(f"Already live: {MODEL} version 1")
    assert after == before
    assert changed.stdout.startswith(f"Live: {MODEL} version 1")  # with other serving settings


@pytest.mark.parametrize("module", ["serving/app.py", "contract/settings/sections.py"])
def test_server_digest_covers_every_module_of_the_server(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    code = tmp_path / "code"
    for package in ("serving", "contract"):
        shutil.copytree(package, code / package)
    monkeypatch.setattr("endpoints.backends.PROJECT_ROOT", code)
    backends = Backends(project.endpoint_folder, project.settings.serving)
    before = backends.server_digest(BackendType.PROCESS)

    with (code / module).open("a") as file:
        file.write("# changed\n")

    assert backends.server_digest(BackendType.PROCESS) != before


def test_tracked_model_is_released_before_its_deployment(
    releases: Releases, project: Project
) -> None:
    uri = f"sqlite:///{releases.settings.root}/.local/mlflow.db"
    tracking = releases.settings.tracking.model_copy(update={"uri": uri})
    settings = project.settings.model_copy(update={"tracking": tracking})

    result = LocalTarget(settings).deploy(model=f"runs:/{releases.runs['2']}/model")

    assert result.live.version == "2"
    with pytest.raises(EndpointError, match="either a version or a model"):
        project.target.deploy("1", "runs:/any/model")


def _change_a_file(store: Path) -> str:
    (store / MODEL / "2/model.onnx").write_bytes(b"another")
    return "model.onnx"


def _change_the_expected_predictions(store: Path) -> str:
    file = store / MODEL / "2" / CHECK_FILE
    check = json.loads(file.read_text())
    check["predictions"][3] *= 1.001
    file.write_text(json.dumps(check))
    rebuild_manifest(file.parent, "2")
    return "house-prices version 2 does not start: house-prices version 2: "


def _break_the_graph(store: Path) -> str:
    (store / MODEL / "2/packed.onnx").write_bytes(b"no graph")
    rebuild_manifest(store / MODEL / "2", "2")
    return "house-prices version 2 does not start: house-prices version 2: packed.onnx: "


def _remove_the_check(store: Path) -> str:
    (store / MODEL / "2" / CHECK_FILE).unlink()
    rebuild_manifest(store / MODEL / "2", "2")
    return "house-prices version 2: no valid check.json to check it with"


def _remove_the_release(store: Path) -> str:
    shutil.rmtree(store / MODEL / "2")
    return "house-prices: no version 2 (available: 1)"


@pytest.mark.parametrize(
    "damage",
    [
        _change_a_file,
        _change_the_expected_predictions,
        _break_the_graph,
        _remove_the_check,
        _remove_the_release,
    ],
)
def test_damaged_release_leaves_the_live_one_unchanged_and_nothing_behind(
    project: Project, store: Path, damage: Any
) -> None:
    reason = damage(store)
    with pytest.raises((ReleaseError, EndpointError)) as first:
        project.target.deploy("2")
    assert not project.endpoints_folder.exists()
    assert not project.pids()
    project.target.deploy("1")
    before = project.snapshot()

    with pytest.raises((ReleaseError, EndpointError)) as second:
        project.target.deploy("2")

    for error in (first, second):
        assert reason in str(error.value)
        assert "\n" not in str(error.value)
    assert project.snapshot() == before
    assert project.live_version() == "1"


def test_response_that_differs_from_the_release_is_an_error() -> None:
    backend = Backend(
        id="1", model="m", version="1", digest="d", type=BackendType.PROCESS, server_digest="s",
        port=1, pid=1, started_at=utc_now(), live_since=utc_now(),
    )  # fmt: skip
    attributes = "model=m;version=1;digest=sha256:d"

    check_predictions(backend, [1.0, 2.0], attributes, '{"predictions": [1.000001, 2.0]}')
    for header, response, reason in (
        ("digest=sha256:e", '{"predictions": [1.0, 2.0]}', "another release"),
        ("", '{"predictions": [1.0, 2.0]}', "another release"),
        (attributes, '{"predictions": [1.0, 2.1]}', r"\[2.1\] instead of \[2.0\] for check row 2"),
        (attributes, '{"predictions": [1.0, NaN]}', r"\[nan\] instead of \[2.0\] for check row 2"),
        (attributes, '{"predictions": [1.0]}', r"\[\] instead of \[2.0\] for check row 2"),
        (attributes, '{"answers": [1.0]}', "the response has no predictions"),
    ):
        with pytest.raises(EndpointError, match=reason):
            check_predictions(backend, [1.0, 2.0], header, response)


def test_status_restarts_stopped_servers_and_reports_it(deployed_twice: Project) -> None:
    state = deployed_twice.state()
    kill_tree(state["live"]["pid"])
    kill_tree(state["previous"]["pid"])

    client = deployed_twice.client()
    with pytest.raises(client.exceptions.ServiceUnavailable, match="run make status to restart it"):
        client.invoke_endpoint(EndpointName=ENDPOINT, Body=b"{}")
    done = run("scripts.status", folder=deployed_twice.root)

    assert done.returncode == 0, done.stdout + done.stderr
    for role in ("live", "previous"):
        name = f"{role}: {MODEL} version {state[role]['version']} (process {state[role]['pid']})"
        assert f"Repaired: {name} did not respond; restarted it as process " in done.stdout
    assert deployed_twice.live_version() == "2"
    again = run("scripts.status", "--json", folder=deployed_twice.root)
    status = json.loads(again.stdout)
    assert (again.returncode, status["healthy"], status["repaired"]) == (0, True, [])
    assert deployed_twice.target.rollback().live.version == "1"


def test_status_restarts_a_stopped_router_and_reports_it(project: Project) -> None:
    project.target.deploy()
    (router,) = [pid for pid in project.pids() if ROUTER_MODULE in psutil.Process(pid).cmdline()]
    kill_tree(router)

    with pytest.raises(EndpointError, match=r"no response from http://.*; run make status"):
        project.target.invoke(b"{}")
    status = project.target.status()

    assert status.healthy
    origin = f"http://127.0.0.1:{project.port}"
    assert status.repaired == (f"the router at {origin} did not respond; restarted it",)
    assert project.live_version() == "1"


def test_deployment_replaces_stopped_servers(project: Project) -> None:
    project.target.deploy()
    for pid in project.pids():
        if psutil.pid_exists(pid):
            kill_tree(pid)

    result = project.target.deploy()

    assert result.changed
    assert (result.live.version, result.previous) == ("1", None)
    assert project.live_version() == "1"


def test_rollback_restarts_a_stopped_previous_server(deployed_twice: Project) -> None:
    kill_tree(deployed_twice.state()["previous"]["pid"])

    done = run("scripts.rollback", folder=deployed_twice.root)

    assert done.returncode == 0, done.stderr
    assert "house-prices version 1 does not respond; restarting it" in done.stderr
    assert done.stdout.startswith("Live: house-prices version 1 ")
    assert "Previous: house-prices version 2" in done.stdout
    assert deployed_twice.live_version() == "1"


def test_rollback_without_a_previous_release_is_one_line(project: Project) -> None:
    nothing = run("scripts.rollback", folder=project.root)
    project.target.deploy()
    first = run("scripts.rollback", folder=project.root)

    assert nothing.returncode == first.returncode == 2
    reason = "nothing is deployed; run make deploy-endpoint"
    assert nothing.stderr.splitlines()[1:] == [f"error: {ENDPOINT}: {reason}"]
    reason = "there is no previous release to roll back to"
    assert first.stderr.splitlines()[1:] == [f"error: {ENDPOINT}: {reason}"]


def test_port_in_use_is_one_line(project: Project) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", project.port))
        taken.listen()

        done = run("scripts.deploy", folder=project.root)

    assert done.returncode == 2
    advice = "set another one in STACK_SERVING__PORT or in serving.port of settings.toml"
    assert done.stderr.splitlines()[1:] == [
        f"error: port {project.port} is in use by another program; {advice}"
    ]
    assert not project.endpoints_folder.exists()


def test_changed_port_moves_the_router(project: Project) -> None:
    project.target.deploy()
    old = project.port
    port = find_free_port()

    done = run("scripts.deploy", folder=project.root, STACK_SERVING__PORT=str(port))

    assert done.returncode == 0, done.stderr
    assert f"http://127.0.0.1:{port}/endpoints/{ENDPOINT}/invocations" in done.stdout
    with pytest.raises(EndpointError, match=f"no response from http://127.0.0.1:{old}"):
        project.target.invoke(b"{}")


def test_second_of_two_concurrent_deployments_is_refused(project: Project) -> None:
    project.target.deploy()
    with (project.endpoints_folder / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        done = run("scripts.deploy", "--version", "2", folder=project.root)
        status = project.target.status()

    assert done.returncode == 2
    reason = "another deployment, rollback or teardown is in progress"
    assert done.stderr.splitlines()[1] == f"error: {reason}; try again when it has finished"
    assert status.healthy
    assert project.live_version() == "1"


def test_interrupted_deployment_leaves_the_live_one_unchanged(project: Project) -> None:
    project.target.deploy("1")
    before = project.snapshot()

    process = start("scripts.deploy", "--version", "2", folder=project.root)
    wait_until(lambda: len(project.pids()) > len(before[1]))
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)[0]

    assert process.returncode == 130
    assert output.splitlines()[-1] == "interrupted"
    assert project.snapshot() == before
    assert project.live_version() == "1"


def test_killed_deployment_is_cleaned_up_by_the_next_one(project: Project) -> None:
    project.target.deploy("1")
    pids = project.pids()

    process = start("scripts.deploy", "--version", "2", folder=project.root)
    wait_until(lambda: len(project.pids()) > len(pids))
    process.kill()
    process.communicate(timeout=60)

    project.target.deploy("2")
    assert project.target.rollback().live.version == "1"
    assert len(project.backend_ids()) == 2
    assert len(project.pids()) == 5


@pytest.mark.parametrize("damage", ["", "invalid state", "no state"])
def test_teardown_leaves_nothing_behind(deployed_twice: Project, damage: str) -> None:
    file = deployed_twice.endpoint_folder / "state.json"
    pids = deployed_twice.pids()
    assert len(pids) == 5
    if damage == "invalid state":
        file.write_text("{")
    elif damage == "no state":
        shutil.rmtree(file.parent)

    if damage:
        checked = run("scripts.status", folder=deployed_twice.root)
        assert checked.returncode == 1
        assert "state.json" in checked.stdout
        assert "Traceback" not in checked.stderr
    done = run("scripts.teardown", folder=deployed_twice.root)
    again = run("scripts.teardown", folder=deployed_twice.root)

    assert done.returncode == again.returncode == 0, done.stderr
    assert "5 processes" in done.stdout
    assert again.stdout == "There was nothing to remove\n"
    assert not deployed_twice.endpoints_folder.exists()
    assert not deployed_twice.pids()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", deployed_twice.port))


def test_deployment_replaces_an_invalid_state(
    deployed_twice: Project, caplog: pytest.LogCaptureFixture
) -> None:
    (deployed_twice.endpoint_folder / "state.json").write_text("{")

    result = deployed_twice.target.deploy("1")

    assert (result.live.version, result.previous) == ("1", None)
    assert any("state.json: can't be parsed" in line for line in caplog.messages)
    assert deployed_twice.live_version() == "1"
    assert len(deployed_twice.pids()) == 3


def test_deployment_logs_its_steps(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="endpoints")

    project.target.deploy()

    logged = [record.getMessage() for record in caplog.records if record.name == "endpoints.local"]
    assert logged == [
        f"Starting {MODEL} version 1",
        "Its predictions match the release; switching traffic to it",
    ]


def test_target_trains_as_the_command_does(releases: Releases) -> None:
    result = LocalTarget(releases.settings).train(Recorder())

    assert result.winner.run_id in releases.runs.values()
    assert result.winner.name.startswith("ridge alpha=")
    assert result.test_metrics is not None
    assert result.winner.metrics["RMSE"] > 0


def test_status_without_a_deployment_creates_nothing(project: Project) -> None:
    done = run("scripts.status", folder=project.root)

    assert done.returncode == 1
    assert done.stdout == "Nothing is deployed; run make deploy-endpoint\n"
    assert not project.endpoints_folder.exists()


def test_empty_release_store_is_an_error(project: Project, store: Path) -> None:
    shutil.rmtree(store)

    with pytest.raises(EndpointError, match="nothing is released yet; run make release"):
        project.target.deploy()
