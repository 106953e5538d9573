"""The hosts of a training job, which coordinate through tags of the parent run only.

Each host has one tag: its state, and a number that grows with each heartbeat. The leader's tag also
announces the run to its peers: they join it once they have seen that tag change. A tag that stays
the same may be from an earlier attempt: SageMaker starts a job again under the same name.

Clocks of two hosts are never compared: each measures by its own how long another's heartbeat has
not changed.
"""

import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from threading import Event, Thread
from typing import Self

from mlflow.entities import Run

from contract.errors import HostError, StackError
from training.cluster import Cluster
from training.runs.mlflow_client import MLFLOW_ERRORS, TrackingClient, short_timeouts
from training.runs.tags import ATTEMPT_TAG, HOST_STATUS_TAG

logger = logging.getLogger(__name__)

MAX_REASON = 500
"""The length, in characters, of the reason in a host's tag."""
STOP_SECONDS = 5.0
"""How long a host that fails waits for a heartbeat in progress."""
ENDED = ("FINISHED", "FAILED", "KILLED")
ADVICE = "start the training again: what is tracked will not be trained again"


class State(StrEnum):
    """The state of a host."""

    WORKING = "working"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class HostStatus:
    """The content of a host's tag: `working 3f2a91bc 17`."""

    state: State
    attempt: str
    heartbeat: int
    reason: str = ""
    """Why it failed, in one line."""

    def __str__(self) -> str:
        return f"{self.state} {self.attempt} {self.heartbeat} {self.reason}".rstrip()

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the status; None if there is none."""
        match text.split(" ", 3):
            case [state, attempt, heartbeat, *reason] if state in list(State):
                return cls(State(state), attempt, int(heartbeat), "".join(reason))
        return None


class HeartbeatMonitor:
    """Measures for how long a host's heartbeat has not changed, by this host's own clock."""

    def __init__(self, max_step: float) -> None:
        """Start the measurement.

        Args:
            max_step: The most seconds that count between two observations. While this process is
                suspended or the store is unreachable, no heartbeat can be seen.
        """
        self._max_step = max_step
        self._value: object = None
        self._seconds, self._observed_at = 0.0, time.monotonic()

    def observe(self, value: object) -> float:
        """Return for how many seconds the value has been the same."""
        now = time.monotonic()
        step = min(now - self._observed_at, self._max_step)
        self._seconds = self._seconds + step if value == self._value else 0.0
        self._value, self._observed_at = value, now
        return self._seconds


class HostSession:
    """What one host contributes to a training of several, and what it observes of the others.

    A context manager: on exit it sends no more heartbeats, and on an exception the state FAILED.
    """

    def __init__(self, client: TrackingClient, cluster: Cluster) -> None:
        self._client, self._cluster = client, cluster
        self._timeouts = cluster.timeouts
        self._run_id = self._attempt = ""
        self._heartbeats = 0
        self._stopped = Event()
        self._thread: Thread | None = None
        max_step = 2 * self._timeouts.heartbeat
        self._watched = cluster.peers if cluster.is_leader else (cluster.leader,)
        self._monitors = {host: HeartbeatMonitor(max_step) for host in self._watched}
        self._states: Mapping[str, State] = {}
        self._problem = ""

    @property
    def problem(self) -> str:
        """Why the training can't continue, in one line; empty if it can."""
        return self._problem

    @property
    def peers_done(self) -> bool:
        """Whether each peer has tracked its share."""
        return all(self._states.get(host) == State.DONE for host in self._cluster.peers)

    def start(self, run_id: str, attempt: str) -> None:
        """Send the first heartbeat, which announces the run if this is the leader.

        Further heartbeats are sent in the background.
        """
        if not self._cluster.peers:
            return
        self._run_id, self._attempt = run_id, attempt
        with self._client.errors():
            self._client.call(lambda: self._send(State.WORKING))
        self._thread = Thread(target=self._run, daemon=True, name="hosts")
        self._thread.start()

    def finish(self) -> None:
        """Report that this host's share is tracked."""
        self._stop(None)
        with self._client.errors():
            self._client.call(lambda: self._send(State.DONE))

    def check_leader(self) -> None:
        """Check, as a peer, that the leader still trains.

        Raises:
            HostError: It ended, or it sends no heartbeat; the message names it.
        """
        if self._problem:
            raise HostError(f"{self._problem}; {ADVICE}")

    def wait_for_leader(
        self, find: Callable[[], Sequence[Run]], is_complete: Callable[[Run], bool]
    ) -> Run:
        """Wait until the leader has started the parent run, or has found it finished.

        Args:
            find: Returns the runs with this resume id, those of earlier attempts among them.
            is_complete: Whether nothing is left to do for this host in a finished run.

        Raises:
            HostError: The leader ended, or it didn't start in time; the message names it.
        """
        leader, limit = self._cluster.leader, self._timeouts.start
        deadline = time.monotonic() + limit
        first: Mapping[str, Run] | None = None
        while True:
            runs = {run.info.run_id: run for run in find()}
            for run_id, run in runs.items():
                if run.info.status == "FINISHED" and is_complete(run):
                    return run
                if first is not None and self._is_started(run, first.get(run_id)):
                    return run
            if first is None:
                first = runs
                logger.info("Waiting for %s, the leader, to start the training", leader)
            if time.monotonic() > deadline:
                same = "with the same data, code and settings"
                raise HostError(f"{leader}, the leader, started no training {same} in {limit:g} s")
            time.sleep(self._timeouts.poll)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        self._stop(STOP_SECONDS)
        if error and self._run_id:
            # The store may be what failed, and the first error is the one that is raised.
            with suppress(*MLFLOW_ERRORS), short_timeouts():
                self._client.call(lambda: self._send(State.FAILED, _reason(error)))

    def _stop(self, timeout: float | None) -> None:
        """Stop the heartbeats; one in progress would overwrite the state that is sent next."""
        self._stopped.set()
        if self._thread:
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopped.wait(self._timeouts.heartbeat):
            with suppress(Exception):  # an unreachable store is reported by the main thread
                self._send(State.WORKING)
                self._observe(self._client.unqueued.get_run(self._run_id))

    def _send(self, state: State, reason: str = "") -> None:
        self._heartbeats += 1
        status = HostStatus(state, self._attempt, self._heartbeats, reason)
        tag = HOST_STATUS_TAG + self._cluster.current_host
        self._client.unqueued.set_tag(self._run_id, tag, str(status))

    def _observe(self, run: Run) -> None:
        statuses = {host: self._status(run, host, self._attempt) for host in self._watched}
        problems = [self._describe(host, status) for host, status in statuses.items()]
        if not self._cluster.is_leader:
            if run.data.tags.get(ATTEMPT_TAG) != self._attempt:
                problems = [f"another process has resumed the training in run {self._run_id}"]
            elif run.info.status in ENDED:
                problems = [self._describe_end(run)]
        self._states = {host: status.state for host, status in statuses.items() if status}
        self._problem = next(filter(None, problems), "")

    def _describe(self, host: str, status: HostStatus | None) -> str:
        """Return what is wrong with a host, in one line; empty if nothing is."""
        unchanged = self._monitors[host].observe(status and status.heartbeat)
        if status is None and unchanged > self._timeouts.start:
            return f"{host} did not start within {unchanged:.0f} s"
        if status and status.state == State.FAILED:
            return f"{host} failed: {status.reason}"
        timeout = self._timeouts.heartbeat_timeout
        if status and status.state == State.WORKING and unchanged > timeout:
            return f"{host} has sent no heartbeat for {unchanged:.0f} s: it was stopped or lost"
        return ""

    def _describe_end(self, run: Run) -> str:
        leader = self._cluster.leader
        status = HostStatus.parse(run.data.tags.get(HOST_STATUS_TAG + leader, ""))
        reason = f": {status.reason}" if status and status.reason else ""
        run_status = f"run {run.info.run_id} is {run.info.status}"
        return f"{leader}, the leader, has ended, and {run_status}{reason}"

    def _is_started(self, run: Run, first: Run | None) -> bool:
        """Return whether the leader trains in a run, in this attempt.

        Args:
            run: The run as it is now.
            first: The run as it was when this host looked first; None if it wasn't there.

        Raises:
            HostError: The leader has ended.
        """
        leader, tags = self._cluster.leader, run.data.tags
        leader_tags = (ATTEMPT_TAG, HOST_STATUS_TAG + leader)
        changed = first is None or any(tags.get(t) != first.data.tags.get(t) for t in leader_tags)
        announced = changed and self._status(run, leader, tags.get(ATTEMPT_TAG, "")) is not None
        if run.info.status not in ENDED:
            return announced
        # Without an announcement, an end that was there before is that of an earlier attempt.
        if announced or first is None or first.info.status == "RUNNING":
            raise HostError(f"{self._describe_end(run)}; {ADVICE}")
        return False

    @staticmethod
    def _status(run: Run, host: str, attempt: str) -> HostStatus | None:
        """Return the status of a host in an attempt; None if it doesn't take part in it yet."""
        status = HostStatus.parse(run.data.tags.get(HOST_STATUS_TAG + host, ""))
        return status if status and status.attempt == attempt else None


def new_attempt() -> str:
    """Return a random value for ATTEMPT_TAG."""
    return uuid.uuid4().hex[:8]


def _reason(error: BaseException) -> str:
    if isinstance(error, StackError):
        text = str(error)
    elif isinstance(error, Exception):
        text = f"{type(error).__name__}: {error}"
    else:
        text = "interrupted"
    return " ".join(text.split())[:MAX_REASON]
