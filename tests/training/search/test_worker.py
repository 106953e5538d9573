"""A worker process that hangs is reported and killed, and never blocks the command."""

import os
import signal
import struct
import time
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pytest

from contract.errors import WorkerError
from contract.settings.loader import Settings
from tests.helpers import Recorder
from training.result import LeaderboardEntry
from training.runs.mlflow_client import TrackingClient
from training.runs.tracker import PARENT_RUN_NAME
from training.search import worker as worker_module
from training.search.worker import Worker
from training.train import train


class _Suspender(Recorder):
    """Suspends the worker process once the first combination is tracked."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self._pid = worker._process.pid

    def tracked(self, entry: LeaderboardEntry, best: LeaderboardEntry) -> None:
        super().tracked(entry, best)
        if len(self.entries) == 1:
            os.kill(self._pid, signal.SIGSTOP)


@pytest.fixture
def long_grid(change: Any) -> Settings:
    settings: Settings = change(
        training={"families": ["ridge", "xgboost"]},
        grids__xgboost={"n_estimators": [5000], "max_depth": [6, 7]},
    )
    return settings


def test_hung_worker_process_is_reported_in_one_line_and_killed(
    long_grid: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "HEARTBEAT_SECONDS", 0.5)
    monkeypatch.setattr(worker_module, "HEARTBEAT_TIMEOUT_SECONDS", 2.0)

    with Worker() as worker:
        assert worker._connection.poll(100)  # loading the libraries takes longer than the timeout
        with pytest.raises(WorkerError, match=r"^the worker process has not responded for 2 s$"):
            train(long_grid, _Suspender(worker), worker)

    assert worker._process.returncode == -signal.SIGKILL
    runs = TrackingClient(long_grid).search_runs("")
    assert {run.info.run_name: run.info.status for run in runs}[PARENT_RUN_NAME] == "FAILED"


def test_worker_process_that_hangs_within_a_message_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker_module, "HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr(worker_module, "HEARTBEAT_TIMEOUT_SECONDS", 1.0)
    own, other = Pipe()
    with Worker() as worker:
        monkeypatch.setattr(worker, "_connection", own)
        os.write(other.fileno(), struct.pack("!i", 1000) + b"a part")

        with pytest.raises(WorkerError, match=r"^the worker process has not responded for 1 s$"):
            next(worker._receive())

        assert worker._process.wait(10) == -signal.SIGKILL


def test_computing_worker_process_sends_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "HEARTBEAT_SECONDS", 1.0)
    with Worker() as worker:
        assert worker._connection.poll(100)
        assert isinstance(worker._connection.recv(), worker_module.WorkerHeartbeat)


@pytest.fixture
def inherited_pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the worker process's end of the pipe open, as a process that it started would."""
    held: list[Connection] = []

    def pipe() -> tuple[Any, Any]:
        parent_end, child_end = Pipe()
        held.append(Connection(os.dup(child_end.fileno())))
        return parent_end, child_end

    monkeypatch.setattr(worker_module, "Pipe", pipe)
    yield
    for connection in held:
        connection.close()


@pytest.mark.usefixtures("inherited_pipe")
def test_stopping_a_hung_worker_process_does_not_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "STOP_TIMEOUT_SECONDS", 0.5)
    larger_than_the_buffer: Any = np.zeros(2_000_000)

    with Worker() as worker:
        os.kill(worker._process.pid, signal.SIGSTOP)
        worker.fit([], larger_than_the_buffer, seed=0)
        start = time.monotonic()

    assert time.monotonic() - start < 5
