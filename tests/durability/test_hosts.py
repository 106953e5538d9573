"""Several hosts share a training: the result is that of one, and no failure loses what is tracked.

Each host is a process with a folder of its own; they share an MLflow server and nothing else.
"""

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from contract.settings.loader import load_settings
from endpoints.ports import find_free_port
from tests.durability.server import Server
from tests.durability.slow_ridge import SECONDS
from tests.durability.trainings import (
    GRIDS,
    TOTAL,
    Leaderboard,
    leaderboard_of,
    read_until,
    runs_in,
)
from tests.helpers import start, train_in_process, write_settings, write_tables
from training.cluster import Cluster
from training.runs.tags import ATTEMPT_TAG, HOST_TAG
from training.search.grid import plan_grids
from training.search.shards import assign_shares

HEARTBEAT_TIMEOUT_SECONDS = 8.0
"""After how long a killed host is noticed; a living one always sends a heartbeat by then."""
TIMEOUT_SECONDS = 120

Process = subprocess.Popen[str]


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, uninterrupted: Leaderboard
) -> Iterator[Server]:
    """An MLflow server for all tests of the module; each test has an experiment of its own."""
    folder = tmp_path_factory.mktemp("server")
    write_settings(folder)
    server = Server(folder, find_free_port())
    server.start()
    yield server
    server.kill()


class Training:
    """A training whose hosts have a folder each, with the same tables and settings."""

    def __init__(self, folder: Path, server: Server, experiment: str) -> None:
        self._folder, self._uri, self._experiment = folder, server.uri, experiment
        self._folders = 0

    def new_host(self) -> Path:
        """Return the folder of a new host."""
        self._folders += 1
        folder = self._folder / f"host-{self._folders}"
        folder.mkdir()
        write_tables(folder)
        training = GRIDS["training"] | {"experiment": self._experiment}
        write_settings(folder, **GRIDS | {"training": training, "tracking": {"uri": self._uri}})
        return folder

    def start(
        self, host: int, of: int, resume_id: str, *options: str, **environment: str
    ) -> Process:
        """Start a host of a job."""
        timeout = f"--heartbeat-timeout={HEARTBEAT_TIMEOUT_SECONDS}"
        arguments = [f"algo-{host}", str(of), resume_id, timeout, *options]
        process = start("tests.durability.host", *arguments, folder=self.new_host(), **environment)
        if host == 1:
            self._result = self._folder / f"host-{self._folders}" / "result.json"
        return process

    @property
    def result(self) -> Any:
        """The result of the latest leader."""
        return json.loads(self._result.read_text())

    def train_on_one_host(self) -> Any:
        """Train or resume in this process."""
        return train_in_process(load_settings(self.new_host() / "settings.toml")).as_json()

    @property
    def runs(self) -> tuple[list[Run], list[Run]]:
        return runs_in(MlflowClient(self._uri), self._experiment)

    @property
    def finished(self) -> list[Run]:
        return [run for run in self.runs[1] if run.info.status == "FINISHED"]


@pytest.fixture
def training(tmp_path: Path, server: Server, request: pytest.FixtureRequest) -> Training:
    return Training(tmp_path, server, re.sub(r"\W+", "-", request.node.name))


@pytest.fixture(autouse=True)
def processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kill what a failed test leaves."""
    started: list[Process] = []
    original = Training.start

    def recorded(self: Training, *arguments: Any, **options: Any) -> Process:
        started.append(original(self, *arguments, **options))
        return started[-1]

    monkeypatch.setattr(Training, "start", recorded)
    yield
    for process in started:
        process.kill()
        process.communicate()


def _finish(process: Process, code: int = 0) -> list[str]:
    """Wait for a host's process, and return the rest of its output."""
    out, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == code, out
    return out.splitlines()


@pytest.mark.parametrize("hosts", [2, 4])
def test_leaderboard_of_several_hosts_is_that_of_one(
    training: Training, uninterrupted: Leaderboard, hosts: int
) -> None:
    processes = [training.start(host, hosts, "job") for host in range(1, hosts + 1)]

    outputs = [_finish(process) for process in processes]

    assert leaderboard_of(training.result) == uninterrupted
    assert training.result["already_tracked"] == 0
    counts = [line[1:6] for line in outputs[0] if line.startswith("[")]
    assert counts == [f"{number:>2}/{TOTAL}" for number in range(1, TOTAL + 1)]
    parents, children = training.runs
    assert [run.info.status for run in parents] == ["FINISHED"]
    assert {run.info.status for run in children} == {"FINISHED"}
    assert len(children) == TOTAL
    settings = load_settings(training.new_host() / "settings.toml")
    names = tuple(f"algo-{number}" for number in range(1, hosts + 1))
    for host, share in assign_shares(plan_grids(settings), Cluster("job", names, "algo-1")).items():
        own = {run.info.run_name for run in children if run.data.tags[HOST_TAG] == host}
        assert own == {grid.combination_name(p) for grid in share for p in grid.combinations}


def test_killed_peer_is_reported_and_only_the_rest_is_trained_again(
    training: Training, uninterrupted: Leaderboard
) -> None:
    leader = training.start(1, 2, "job")
    peer = training.start(2, 2, "job", **{SECONDS: "100"})
    read_until(peer, 0)
    peer.kill()

    *_, line = _finish(leader, code=2)

    reason = r"algo-2 has sent no heartbeat for \d+ s: it was stopped or lost"
    before = {run.info.run_id for run in training.finished}
    advice = f"start the training again: {len(before)} of 10 combinations are tracked"
    assert re.fullmatch(f"error: {reason}; {advice} and will not be trained again", line)
    assert [run.info.status for run in training.runs[0]] == ["FAILED"]
    assert len(before) <= 4  # the leader's share
    result = training.train_on_one_host()
    assert result["already_tracked"] == len(before)
    assert leaderboard_of(result) == uninterrupted
    assert before < {run.info.run_id for run in training.finished}
    assert len(training.finished) == TOTAL


def test_killed_leader_ends_the_peers_and_the_restarted_job_resumes(
    training: Training, uninterrupted: Leaderboard
) -> None:
    leader = training.start(1, 2, "job")
    peer = training.start(2, 2, "job", **{SECONDS: "100"})
    read_until(peer, 0)
    read_until(leader, 4)
    leader.kill()

    *_, line = _finish(peer, code=2)

    reason = r"algo-1 has sent no heartbeat for \d+ s: it was stopped or lost"
    advice = "start the training again: what is tracked will not be trained again"
    assert re.fullmatch(f"error: {reason}; {advice}", line)
    (parent,) = training.runs[0]
    assert parent.info.status == "RUNNING"

    # As SageMaker does after a spot interruption: the same name, and the peer may start first.
    peer = training.start(2, 2, "job")
    _read_line(peer, "Waiting for algo-1, the leader, to start the training")
    leader = training.start(1, 2, "job")
    _finish(peer)
    _finish(leader)
    assert training.result["already_tracked"] == 4
    assert leaderboard_of(training.result) == uninterrupted
    (again,) = training.runs[0]
    assert (again.info.run_id, again.info.status) == (parent.info.run_id, "FINISHED")
    assert again.data.tags[ATTEMPT_TAG] != parent.data.tags[ATTEMPT_TAG]
    assert len(training.finished) == TOTAL


def test_terminated_hosts_mark_their_runs_and_another_number_resumes(
    training: Training, uninterrupted: Leaderboard
) -> None:
    leader = training.start(1, 2, "job-1")
    peer = training.start(2, 2, "job-1", **{SECONDS: "100"})
    read_until(peer, 0)
    read_until(leader, 4)
    for process in (leader, peer):
        process.send_signal(signal.SIGTERM)

    for process in (leader, peer):
        assert _finish(process, code=128 + signal.SIGTERM)[-1] == "interrupted"
    assert [run.info.status for run in training.runs[0]] == ["KILLED"]
    assert {run.info.status for run in training.runs[1]} <= {"FINISHED", "KILLED"}

    processes = [training.start(host, 3, "job-2") for host in (1, 2, 3)]
    for process in processes:
        _finish(process)
    assert training.result["already_tracked"] == 4
    assert leaderboard_of(training.result) == uninterrupted
    assert len(training.runs[0]) == 1


def _read_line(process: Process, line: str) -> None:
    assert process.stdout is not None
    for found in process.stdout:
        if found.rstrip() == line:
            return
    pytest.fail(f"the process ended without: {line}")
