"""What a host concludes from the tags of the parent run, and what it does to other hosts' runs."""

import logging
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from contract.errors import HostError, WorkerError
from contract.process import Interrupted
from contract.settings.loader import Settings
from tests.durability import slow_ridge
from tests.helpers import Recorder, train_in_process
from training.cluster import Cluster, HostTimeouts
from training.data.dataset import Split, read_training, split
from training.family_registry import FAMILIES
from training.plan import TrainingPlan
from training.result import ShareResult, TrainingResult
from training.runs.host_session import HeartbeatMonitor, HostStatus, State
from training.runs.tags import ATTEMPT_TAG, HOST_STATUS_TAG, HOST_TAG, RESUME_ID_TAG
from training.runs.tracker import Tracker
from training.search.worker import Worker
from training.train import train, train_share

HOSTS = ("algo-1", "algo-2")
FAST = HostTimeouts(heartbeat=0.1, heartbeat_timeout=60, start=60)
SHORT = HostTimeouts(heartbeat=0.1, heartbeat_timeout=1, start=1)


@dataclass
class Hosts:
    """The trackers of two hosts, and the runs in their store."""

    settings: Settings
    data_split: Split

    def tracker(self, host: str, timeouts: HostTimeouts = FAST) -> Tracker:
        return Tracker(self.settings, "fingerprint", Cluster("job", HOSTS, host, timeouts))

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.settings.tracking_uri)

    def start_child(self, tracker: Tracker, parent_id: str, name: str) -> str:
        return tracker._client.create_run(name, {MLFLOW_PARENT_RUN_ID: parent_id})

    def status(self, run_id: str) -> str:
        return str(self.client.get_run(run_id).info.status)


@pytest.fixture
def hosts(settings: Settings) -> Hosts:
    return Hosts(settings, split(read_training(settings), settings))


def _wait(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (WorkerError("the worker process was killed"), "FAILED", "the worker process was killed"),
        (Interrupted(signal.SIGTERM), "KILLED", "interrupted"),
        (ValueError("a\nb"), "FAILED", "ValueError: a b"),
    ],
    ids=["error", "interrupt", "defect"],
)
def test_failed_peer_terminates_only_its_own_runs_and_the_leader_reports_why(
    hosts: Hosts, error: BaseException, status: str, reason: str
) -> None:
    leader, peer = hosts.tracker("algo-1"), hosts.tracker("algo-2")
    children: list[str] = []

    def fail() -> None:
        with peer.join(hosts.data_split, ["b"]) as training:
            children.append(hosts.start_child(peer, training.run_id, "b"))
            raise error

    with leader.parent_run(hosts.data_split, None, None) as parent_id:
        leader_child = hosts.start_child(leader, parent_id, "a")
        with pytest.raises(type(error)):
            fail()

        (peer_child,) = children
        assert hosts.status(peer_child) == status
        assert hosts.status(leader_child) == hosts.status(parent_id) == "RUNNING"
        assert hosts.client.get_run(peer_child).data.tags[HOST_TAG] == "algo-2"
        _wait(lambda: leader.hosts.problem)
        assert leader.hosts.problem == f"algo-2 failed: {reason}"
        assert not leader.hosts.peers_done


def test_failed_leader_leaves_the_runs_of_its_peers_which_then_stop(hosts: Hosts) -> None:
    leader, peer = hosts.tracker("algo-1"), hosts.tracker("algo-2")
    joined = threading.Event()
    children: list[str] = []

    def fail() -> None:
        with leader.parent_run(hosts.data_split, None, None) as parent_id:
            children.append(hosts.start_child(leader, parent_id, "a"))
            joined.wait(60)
            raise WorkerError("the worker process was killed")

    def lead() -> None:
        with pytest.raises(WorkerError):
            fail()

    def follow() -> None:
        with peer.join(hosts.data_split, ["b"]) as training:
            children.append(hosts.start_child(peer, training.run_id, "b"))
            joined.set()
            thread.join(60)
            assert hosts.status(children[1]) == "RUNNING"
            _wait(lambda: peer.hosts.problem.endswith("killed"))
            peer.hosts.check_leader()

    thread = threading.Thread(target=lead)
    thread.start()
    reason = "algo-1, the leader, has ended, and run .* is FAILED: the worker process was killed; "
    with pytest.raises(HostError, match=reason):
        follow()

    assert [hosts.status(child) for child in children] == ["FAILED", "FAILED"]


def test_peers_of_an_earlier_attempt_stop_when_the_run_is_resumed(hosts: Hosts) -> None:
    leader, peer = hosts.tracker("algo-1"), hosts.tracker("algo-2")

    def follow() -> None:
        with peer.join(hosts.data_split, ["b"]) as training:
            hosts.client.set_tag(training.run_id, ATTEMPT_TAG, "another")
            _wait(lambda: peer.hosts.problem)
            peer.hosts.check_leader()

    with (
        leader.parent_run(hosts.data_split, None, None) as parent_id,
        pytest.raises(HostError, match=f"another process has resumed .* run {parent_id}; "),
    ):
        follow()


def test_run_of_a_dead_earlier_attempt_is_not_joined(hosts: Hosts) -> None:
    leader = hosts.tracker("algo-1")
    with leader.parent_run(hosts.data_split, None, None) as parent_id:
        pass
    hosts.client.update_run(parent_id, "RUNNING")  # as after kill -9
    tags = hosts.client.get_run(parent_id).data.tags
    status = HostStatus.parse(tags[HOST_STATUS_TAG + "algo-1"])
    assert status
    assert status.state == State.WORKING
    assert (status.attempt, tags[RESUME_ID_TAG]) == (tags[ATTEMPT_TAG], "job")

    peer = hosts.tracker("algo-2", SHORT)

    reason = "algo-1, the leader, started no training with the same data, code and settings in 1 s"
    with pytest.raises(HostError, match=reason), peer.join(hosts.data_split, ["b"]):
        pytest.fail("joined")


class _Waiting(logging.Handler):
    """Notices that a peer has looked for the leader's run for the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.event = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.event.set()


@pytest.fixture
def waiting() -> Iterator[threading.Event]:
    logger, handler = logging.getLogger("training.runs.host_session"), _Waiting()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler.event
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


@pytest.mark.parametrize("resumed", [False, True])
def test_waiting_peer_notices_that_the_leader_fails(
    hosts: Hosts, waiting: threading.Event, resumed: bool
) -> None:
    leader, peer = hosts.tracker("algo-1"), hosts.tracker("algo-2")

    def fail() -> None:
        previous = leader.find(1) if resumed else None
        with leader.parent_run(hosts.data_split, None, previous):
            raise WorkerError("the worker process was killed")

    def lead() -> None:
        assert waiting.wait(60)
        with pytest.raises(WorkerError):
            fail()

    def follow() -> None:
        with peer.join(hosts.data_split, ["b"]):  # if it looks just before the leader fails
            _wait(lambda: peer.hosts.problem)
            peer.hosts.check_leader()

    if resumed:  # by the second attempt of the job, from a first one that failed as well
        with pytest.raises(WorkerError):
            fail()
        leader = hosts.tracker("algo-1")
    thread = threading.Thread(target=lead)
    thread.start()

    reason = "algo-1, the leader, has ended, and run .* is FAILED"
    with pytest.raises(HostError, match=reason):
        follow()
    thread.join(60)


def test_peer_without_leader_fails_in_one_line(settings: Settings) -> None:
    cluster = Cluster("job", HOSTS, "algo-2", SHORT)

    with (
        Worker() as worker,
        pytest.raises(HostError, match="algo-1, the leader, started no training"),
    ):
        train_share(settings, Recorder(), worker, cluster)


def test_leader_without_peer_fails_in_one_line(settings: Settings) -> None:
    cluster = Cluster("job", HOSTS, "algo-1", SHORT)

    with Worker() as worker, pytest.raises(HostError) as caught:
        train(settings, Recorder(), worker, cluster=cluster)

    advice = r"start the training again: \d of 2 combinations are tracked"
    expected = rf"algo-2 did not start within \d+ s; {advice} and will not be trained again"
    assert re.fullmatch(expected, str(caught.value))


def test_leader_stops_during_its_own_share_if_a_peer_fails(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, peer = (Cluster("job", HOSTS, host, FAST) for host in HOSTS)
    monkeypatch.setitem(FAMILIES, "ridge", f"{slow_ridge.__name__}:SlowRidgeFamily")
    monkeypatch.setenv(slow_ridge.SECONDS, "100")

    def fail() -> None:
        plan = TrainingPlan.from_settings(settings, peer)
        tracker = plan.open_tracker()
        with pytest.raises(WorkerError), tracker.join(plan.data_split, ["b"]):
            raise WorkerError("the worker process was killed")

    thread = threading.Thread(target=fail)
    thread.start()
    with Worker() as worker, pytest.raises(HostError) as caught:
        train(settings, Recorder(), worker, cluster=leader)
    thread.join(60)

    advice = "start the training again: 0 of 2 combinations are tracked"
    reason = "algo-2 failed: the worker process was killed"
    assert str(caught.value) == f"{reason}; {advice} and will not be trained again"


def _train_on_two_hosts(
    settings: Settings, resume_id: str, force: bool = False
) -> tuple[TrainingResult, ShareResult]:
    """Train on two hosts, each a thread of this process with a worker process."""
    leader, peer = (Cluster(resume_id, HOSTS, host, FAST) for host in HOSTS)
    results: list[TrainingResult] = []

    def lead() -> None:
        with Worker() as worker:
            results.append(train(settings, Recorder(), worker, force, leader))

    thread = threading.Thread(target=lead)
    thread.start()
    with Worker() as worker:
        share = train_share(settings, Recorder(), worker, peer)
    thread.join(60)
    return results[0], share


def test_peer_without_combinations_ends_at_once(settings: Settings) -> None:
    result, share = _train_on_two_hosts(settings, "job")

    assert share == ShareResult(result.parent_run_id, combinations=0, already_tracked=0)
    assert len(result.leaderboard) == 2


def test_finished_training_ends_all_hosts_and_force_trains_again(change: Any) -> None:
    settings = change(grids__ridge={"alpha": [1, 10], "fit_intercept": [True, False]})
    first = train_in_process(settings)

    result, share = _train_on_two_hosts(settings, "job-1")
    assert result.already_tracked == 4
    assert share == ShareResult(first.parent_run_id, combinations=2, already_tracked=2)

    result, share = _train_on_two_hosts(settings, "job-2", force=True)
    assert result.already_tracked == 0
    assert result.parent_run_id != first.parent_run_id
    assert share == ShareResult(result.parent_run_id, combinations=2, already_tracked=0)
    assert [(entry.name, entry.metrics) for entry in result.leaderboard] == [
        (entry.name, entry.metrics) for entry in first.leaderboard
    ]

    # The job that is started again resumes its own run.
    again, _ = _train_on_two_hosts(settings, "job-2", force=True)
    assert (again.parent_run_id, again.already_tracked) == (result.parent_run_id, 4)


@pytest.mark.parametrize(
    "status",
    [
        HostStatus(State.WORKING, "3f2a91bc", 17),
        HostStatus(State.FAILED, "3f2a91bc", 3, "the worker process was killed"),
    ],
)
def test_status_is_read_from_its_tag(status: HostStatus) -> None:
    assert HostStatus.parse(str(status)) == status


@pytest.mark.parametrize("text", ["", "working", "asleep 3f2a91bc 17"])
def test_other_text_is_no_status(text: str) -> None:
    assert HostStatus.parse(text) is None


def test_heartbeat_monitor_counts_only_what_it_could_observe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monitor = HeartbeatMonitor(max_step=20)

    seconds = []
    # Suspended, or without a store, from 30 to 5000.
    for now, value in ((10, 1), (20, 1), (30, 1), (5000, 1), (5010, 2), (5020, 2)):  # noqa: B007
        seconds.append(monitor.observe(value))

    assert seconds == [0, 10, 20, 40, 0, 10]
