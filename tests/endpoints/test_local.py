"""The local endpoint: real servers behind the real front, asked as AWS would be."""

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
from botocore.exceptions import ClientError

from contract.errors import EndpointError, ReleaseError
from contract.names import Image
from contract.release import CHECK_FILE
from endpoints.backends import verify
from endpoints.containers import HOME_LABEL, ServingContainers
from endpoints.local import LocalTarget
from endpoints.ports import find_free_port
from endpoints.router_process import MODULE
from endpoints.state import Backend, now
from tests.endpoints.conftest import Releases
from tests.endpoints.helpers import ENDPOINT, Load, Place, body_of, kill, rewrite, wait_until
from tests.helpers import run, start
from tests.images import build, needs_engine

MODEL = "house-prices"


def test_a_release_is_deployed_by_a_command_and_outlives_it(place: Place) -> None:
    done = run("scripts.deploy", folder=place.root)

    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"Deploying the champion of {MODEL} to {ENDPOINT}\n")
    assert done.stdout.startswith(f"Live: {MODEL} version 1 (sha256 ")
    live = place.state()["live"]
    # A session of its own: no terminal that is closed, and no Ctrl-C, reaches it.
    assert os.getsid(live["pid"]) == live["pid"]
    for pid in place.pids():
        assert os.getsid(pid) != os.getsid(0)
    known = place.check()
    response = place.client().invoke_endpoint(
        EndpointName=ENDPOINT,
        Body=body_of(known, 20),
        ContentType="application/json",
        InferenceId="mine",
    )
    assert json.loads(response["Body"].read())["predictions"] == pytest.approx(
        known["predictions"], rel=1e-5
    )
    assert response["ContentType"] == "application/json"
    assert response["InvokedProductionVariant"] == "AllTraffic"
    assert f"model={MODEL};version=1;digest=sha256:{live['digest']}" in response["CustomAttributes"]
    assert '"mine"' in (place.home / ENDPOINT / live["id"] / "log").read_text()


def test_the_front_answers_in_the_forms_of_aws(place: Place) -> None:
    place.target.deploy()
    client = place.client()

    with pytest.raises(ClientError) as unknown:
        client.invoke_endpoint(EndpointName="another", Body=b"{}")
    with pytest.raises(client.exceptions.ModelError) as refused:
        client.invoke_endpoint(EndpointName=ENDPOINT, Body=b"{", ContentType="application/json")
    with pytest.raises(ClientError) as large:
        client.invoke_endpoint(EndpointName=ENDPOINT, Body=b" " * (25 * 2**20 + 1))
    text = client.invoke_endpoint(
        EndpointName=ENDPOINT,
        Body=body_of(place.check()),
        ContentType="application/json",
        Accept="text/csv",
    )

    assert unknown.value.response["Error"]["Code"] == "ValidationError"
    assert unknown.value.response["Error"]["Message"] == "Endpoint another not found."
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert refused.value.response["OriginalStatusCode"] == 400
    assert "error_code" in json.loads(refused.value.response["OriginalMessage"])
    assert large.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413
    assert text["ContentType"].startswith("text/csv")
    assert float(text["Body"].read()) == pytest.approx(place.check()["predictions"][0], rel=1e-5)
    with pytest.raises(EndpointError, match=r"Received client error \(400\) from primary"):
        place.target.invoke(b"{")


def test_a_deployment_and_a_rollback_under_load_fail_no_request(place: Place) -> None:
    place.target.deploy("1")
    first = place.state()["live"]

    with Load(place) as load:
        time.sleep(0.5)
        move = place.target.deploy("2")
        time.sleep(0.5)
        began = time.monotonic()
        back = place.target.rollback()
        rollback = time.monotonic() - began
        time.sleep(0.5)

    assert (move.live.version, move.changed) == ("2", True)
    assert move.previous is not None
    assert move.previous.version == "1"
    assert back.live.version == "1"
    assert rollback < 1
    assert load.failures == []
    for versions in load.versions:
        turns = [
            one for one, before in zip(versions, ["", *versions], strict=False) if one != before
        ]
        assert turns == ["1", "2", "1"]
    assert place.state()["live"]["pid"] == first["pid"]  # it ran all the time
    assert place.state()["previous"]["version"] == "2"


def test_the_one_before_the_former_is_ended_under_load_without_a_failure(two_live: Place) -> None:
    first = two_live.state()["previous"]

    with Load(two_live) as load:
        two_live.target.rollback()
        two_live.target.deploy("2")  # of which a server is there: the former, as it happens
        time.sleep(0.3)

    assert load.failures == []
    state = two_live.state()
    assert (state["live"]["version"], state["previous"]["version"]) == ("2", "1")
    assert state["previous"]["pid"] == first["pid"]
    assert two_live.folders() == {state["live"]["id"], state["previous"]["id"]}
    assert {state["live"]["pid"], state["previous"]["pid"]} < two_live.pids()
    assert len(two_live.pids()) == 5  # the front, and two servers with a worker each


def test_what_is_live_is_not_deployed_again(place: Place) -> None:
    place.target.deploy()
    before = place.state()

    again = run("scripts.deploy", "--version", "1", folder=place.root)
    state = place.state()
    other = run("scripts.deploy", folder=place.root, STACK_SERVING__MAX_BODY_MB="1")

    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith(f"Live already: {MODEL} version 1")
    assert state == before
    assert other.stdout.startswith(f"Live: {MODEL} version 1")  # with other settings it is another


def test_a_tracked_model_is_released_first(releases: Releases, place: Place) -> None:
    settings = place.settings.model_copy(update={"tracking": releases.settings.tracking})
    uri = f"sqlite:///{releases.settings.root}/.local/mlflow.db"
    tracking = settings.tracking.model_copy(update={"uri": uri})
    settings = settings.model_copy(update={"tracking": tracking})

    move = LocalTarget(settings).deploy(model=f"runs:/{releases.runs['2']}/model")

    assert move.live.version == "2"
    with pytest.raises(EndpointError, match="either a version or a model"):
        place.target.deploy("1", "runs:/any/model")


def _tamper(store: Path) -> str:
    (store / MODEL / "2/model.onnx").write_bytes(b"another")
    return "model.onnx differs from what manifest.json says of it"


def _predict_otherwise(store: Path) -> str:
    file = store / MODEL / "2" / CHECK_FILE
    known = json.loads(file.read_text())
    known["predictions"][3] *= 1.001
    file.write_text(json.dumps(known))
    rewrite(file.parent, "2")
    return "house-prices version 2 doesn't start: house-prices version 2: predicts otherwise"


def _break_the_graph(store: Path) -> str:
    (store / MODEL / "2/packed.onnx").write_bytes(b"no graph")
    rewrite(store / MODEL / "2", "2")
    return "house-prices version 2 doesn't start: house-prices version 2: packed.onnx: "


def _lose_the_check(store: Path) -> str:
    (store / MODEL / "2" / CHECK_FILE).unlink()
    rewrite(store / MODEL / "2", "2")
    return "house-prices version 2: no check.json to try it with"


def _lose(store: Path) -> str:
    shutil.rmtree(store / MODEL / "2")
    return "house-prices: no version 2 (there are: 1)"


@pytest.mark.parametrize(
    "damage", [_tamper, _predict_otherwise, _break_the_graph, _lose_the_check, _lose]
)
def test_a_broken_release_leaves_the_old_one_and_nothing_of_itself(
    place: Place, store: Path, damage: Any
) -> None:
    reason = damage(store)
    with pytest.raises((ReleaseError, EndpointError)) as first:
        place.target.deploy("2")
    assert not place.home.exists()
    assert not place.pids()
    place.target.deploy("1")
    before = (place.state(), place.pids(), place.folders())

    with pytest.raises((ReleaseError, EndpointError)) as second:
        place.target.deploy("2")

    for error in (first, second):
        assert reason in str(error.value)
        assert "\n" not in str(error.value)
    assert (place.state(), place.pids(), place.folders()) == before
    assert place.version() == "1"


def test_an_answer_that_is_not_the_releases_is_refused() -> None:
    backend = Backend(
        id="1", model="m", version="1", digest="d", type=BackendType.PROCESS, server_digest="s", port=1,
        pid=1, started_at=now(), live_since=now(),
    )  # fmt: skip
    ours = "model=m;version=1;digest=sha256:d"

    verify(backend, [1.0, 2.0], ours, '{"predictions": [1.000001, 2.0]}')
    for attributes, answer, reason in (
        ("digest=sha256:e", '{"predictions": [1.0, 2.0]}', "another release"),
        ("", '{"predictions": [1.0, 2.0]}', "another release"),
        (ours, '{"predictions": [1.0, 2.1]}', r"\[2.1\] instead of \[2.0\] for check row 2"),
        (ours, '{"predictions": [1.0, NaN]}', r"\[nan\] instead of \[2.0\] for check row 2"),
        (ours, '{"predictions": [1.0]}', r"\[\] instead of \[2.0\] for check row 2"),
        (ours, '{"answers": [1.0]}', "no predictions"),
    ):
        with pytest.raises(EndpointError, match=reason):
            verify(backend, [1.0, 2.0], attributes, answer)


def test_dead_servers_are_said_and_mended(two_live: Place) -> None:
    state = two_live.state()
    kill(state["live"]["pid"])
    kill(state["previous"]["pid"])

    client = two_live.client()
    with pytest.raises(client.exceptions.ServiceUnavailable, match="make status mends it"):
        client.invoke_endpoint(EndpointName=ENDPOINT, Body=b"{}")
    done = run("scripts.status", folder=two_live.root)

    assert done.returncode == 0, done.stdout + done.stderr
    for role in ("live", "previous"):
        found = f"Mended: {role}: {MODEL} version {state[role]['version']} (process "
        assert f"{found}{state[role]['pid']}) did not answer: started again" in done.stdout
    assert two_live.version() == "2"
    again = run("scripts.status", "--json", folder=two_live.root)
    status = json.loads(again.stdout)
    assert (again.returncode, status["healthy"], status["mended"]) == (0, True, [])
    assert two_live.target.rollback().live.version == "1"


def test_a_dead_front_is_said_and_mended(place: Place) -> None:
    place.target.deploy()
    kill(*[pid for pid in place.pids() if MODULE in psutil.Process(pid).cmdline()])

    with pytest.raises(EndpointError, match=r"nothing answers at .*; make status says why"):
        place.target.invoke(b"{}")
    status = place.target.status()

    assert status.healthy
    assert status.repaired == (
        f"nothing answered at http://127.0.0.1:{place.port}: the front was started again",
    )
    assert place.version() == "1"


def test_a_deployment_mends_what_is_dead(place: Place) -> None:
    place.target.deploy()
    for pid in place.pids():
        if psutil.pid_exists(pid):
            kill(pid)

    move = place.target.deploy()

    assert move.changed
    assert (move.live.version, move.previous) == ("1", None)
    assert place.version() == "1"


def test_a_rollback_starts_a_former_one_that_died(two_live: Place) -> None:
    kill(two_live.state()["previous"]["pid"])

    done = run("scripts.rollback", folder=two_live.root)

    assert done.returncode == 0, done.stderr
    assert "house-prices version 1 does not answer any more: starting it again" in done.stderr
    assert done.stdout.startswith("Live: house-prices version 1 ")
    assert done.stdout.endswith("Former: house-prices version 2, kept for make rollback\n")
    assert two_live.version() == "1"


def test_without_a_former_release_there_is_no_rollback(place: Place) -> None:
    nothing = run("scripts.rollback", folder=place.root)
    place.target.deploy()
    first = run("scripts.rollback", folder=place.root)

    assert nothing.returncode == first.returncode == 2
    reason = "nothing is deployed; make deploy-endpoint does it"
    assert nothing.stderr.splitlines()[1:] == [f"error: {ENDPOINT}: {reason}"]
    reason = "there is no former release to go back to"
    assert first.stderr.splitlines()[1:] == [f"error: {ENDPOINT}: {reason}"]


def test_a_port_in_use_is_one_line(place: Place) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", place.port))
        taken.listen()

        done = run("scripts.deploy", folder=place.root)

    assert done.returncode == 2
    advice = "STACK_SERVING__PORT or serving.port in settings.toml chooses another"
    assert done.stderr.splitlines()[1:] == [
        f"error: port {place.port} is in use by a program; {advice}"
    ]
    assert not place.home.exists()


def test_a_new_port_moves_the_front(place: Place) -> None:
    place.target.deploy()
    old = place.port
    port = find_free_port()

    done = run("scripts.deploy", folder=place.root, STACK_SERVING__PORT=str(port))

    assert done.returncode == 0, done.stderr
    assert f"At http://127.0.0.1:{port}/endpoints/{ENDPOINT}/invocations" in done.stdout
    with pytest.raises(EndpointError, match=f"nothing answers at http://127.0.0.1:{old}"):
        place.target.invoke(b"{}")


def test_of_two_deployments_at_once_the_second_is_told(place: Place) -> None:
    place.target.deploy()
    with (place.home / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        done = run("scripts.deploy", "--version", "2", folder=place.root)
        status = place.target.status()

    assert done.returncode == 2
    reason = "another deployment, rollback or teardown is under way here"
    assert done.stderr.splitlines()[1] == f"error: {reason}; try again when it has ended"
    assert status.healthy
    assert place.version() == "1"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_deployment_that_is_cut_off_leaves_the_old_one(place: Place, number: int) -> None:
    place.target.deploy("1")
    before = (place.state(), place.pids(), place.folders())

    process = start("scripts.deploy", "--version", "2", folder=place.root)
    wait_until(lambda: len(place.pids()) > len(before[1]))
    process.send_signal(number)
    output = process.communicate(timeout=60)[0]

    if number == signal.SIGINT:
        assert process.returncode == 130
        assert output.splitlines()[-1] == "interrupted"
    else:  # it had no time to clean up: whatever is deployed next does
        place.target.deploy("2")
        assert place.target.rollback().live.version == "1"
        assert len(place.folders()) == 2
        assert len(place.pids()) == 5
        return
    assert (place.state(), place.pids(), place.folders()) == before
    assert place.version() == "1"


@pytest.mark.parametrize("damage", ["", "broken state", "no state"])
def test_a_teardown_leaves_nothing(two_live: Place, damage: str) -> None:
    file = two_live.home / ENDPOINT / "state.json"
    pids = two_live.pids()
    assert len(pids) == 5
    if damage == "broken state":
        file.write_text("{")
    elif damage == "no state":
        shutil.rmtree(file.parent)

    if damage:
        looked = run("scripts.status", folder=two_live.root)
        assert looked.returncode == 1
        assert "Broken: " in looked.stdout
        assert "Traceback" not in looked.stderr
    done = run("scripts.teardown", folder=two_live.root)
    again = run("scripts.teardown", folder=two_live.root)

    assert done.returncode == again.returncode == 0, done.stderr
    assert "5 processes" in done.stdout
    assert again.stdout == "There was nothing to remove\n"
    assert not two_live.home.exists()
    assert not two_live.pids()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", two_live.port))


def test_a_deployment_writes_a_broken_state_anew(two_live: Place) -> None:
    (two_live.home / ENDPOINT / "state.json").write_text("{")

    move = two_live.target.deploy("1")

    assert (move.live.version, move.previous) == ("1", None)
    assert any("state.json: can't be read" in line for line in caplog.messages)
    assert two_live.version() == "1"
    assert len(two_live.pids()) == 3


@needs_engine
@pytest.mark.timeout(900)
def test_a_container_takes_turns_with_a_process(place: Place) -> None:
    build(Image.SERVE)
    engine = ServingContainers()
    place.target.deploy("1")

    done = run("scripts.deploy", "--engine", "container", folder=place.root)

    assert done.returncode == 0, done.stderr
    assert "container prod-endpoint-1-" in done.stdout
    assert place.version() == "1"
    assert place.target.rollback().live.runs_as.startswith("process ")
    (name,) = engine.find(HOME_LABEL, place.home)
    engine.remove(name)
    assert place.target.status().repaired[0].startswith(f"previous: {MODEL} version 1 (container ")
    assert place.target.rollback().live.runs_as == f"container {name}"
    assert place.version() == "1"
    assert place.target.teardown() == ("endpoint prod-endpoint", "3 processes", "1 container")
    assert not engine.find(HOME_LABEL, place.home)


def test_an_image_that_is_not_built_is_said(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("endpoints.containers.IMAGE", "no-such-image")

    with pytest.raises(EndpointError, match=r"no image no-such-image|no container engine works"):
        LocalTarget(place.settings, BackendType.CONTAINER).deploy()

    assert not place.home.exists()


def test_it_trains_as_the_command_does(releases: Releases) -> None:
    done = LocalTarget(releases.settings).train(Recorder())

    assert done.winner.run_id in releases.runs.values()
    assert done.winner.name.startswith("ridge alpha=")
    assert done.test_metrics is not None
    assert done.winner.metrics["RMSE"] > 0


def test_nothing_deployed_is_said(place: Place) -> None:
    done = run("scripts.status", folder=place.root)

    assert done.returncode == 1
    assert done.stdout == "Nothing is deployed; make deploy-endpoint does it\n"
    assert not place.home.exists()


def test_a_store_without_releases_is_said(place: Place, store: Path) -> None:
    shutil.rmtree(store)

    with pytest.raises(EndpointError, match="nothing is released yet: make release does it"):
        place.target.deploy()
