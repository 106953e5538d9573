"""The worker process, which fits, as seen from the parent process, which tracks.

Two processes, because both compute in Python, where the threads of one process block each other,
and because a process can be stopped at any moment, whatever library its fit is in. This module
imports no third-party library: a command starts the worker first, so that both processes load their
libraries at the same time. The code of the worker process is in `training.search.worker_process`.
"""

import os
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from threading import Event, Thread
from typing import TYPE_CHECKING, Self

from contract.errors import WorkerError
from contract.paths import PROJECT_ROOT

if TYPE_CHECKING:
    from training.search.grid import EvaluatedModel, FamilyGrid, PreparedData

HEARTBEAT_SECONDS = 5.0
"""How long the worker process sends nothing before it sends a heartbeat."""
HEARTBEAT_TIMEOUT_SECONDS = 120.0
"""After how long without a message the worker process counts as hung.

Long enough for loading the libraries on a busy machine, and for library calls that hold the GIL.
"""
STOP_TIMEOUT_SECONDS = 5.0
"""How long to wait for a killed process, which doesn't exit while a system call blocks it."""


@dataclass(frozen=True)
class WorkerHeartbeat:
    """Sent by the worker process when there is nothing else to send."""


@dataclass(frozen=True)
class WorkerFailure:
    """Sent by the worker process: the error that stopped the fits."""

    error: BaseException


@dataclass(frozen=True)
class WorkerWarning:
    """Sent by the worker process: a library's warning."""

    message: str
    category: type[Warning]


class Worker:
    """A worker process, and a context manager that stops it on exit.

    The process exits when its parent exits, for whatever reason. The messages between the two are
    pickled, and never read anywhere else.
    """

    def __init__(self) -> None:
        """Start the process."""
        self._sender: Thread | None = None
        self._start()

    def fit(
        self, grids: "Sequence[FamilyGrid]", prepared: "PreparedData", seed: int
    ) -> "Iterator[EvaluatedModel | None]":
        """Start to fit every combination; return an iterator over the models, in any order.

        The iterator returns None after each heartbeat, so that the caller can do something else
        during a long fit. Fits of a previous call are dropped.

        Raises:
            FamilyError: While iterating: a family rejects the value of a hyperparameter.
            WorkerError: While iterating: the process stopped unexpectedly, or it hangs.
        """
        if self._sender:
            self._stop()
            self._start()
        job = (grids, prepared, seed)
        # In a thread: the process may still be loading its libraries.
        self._sender = Thread(target=_send, args=(self._connection, job), daemon=True)
        self._sender.start()
        return self._receive()

    def _receive(self) -> "Iterator[EvaluatedModel | None]":
        while True:
            try:
                self._wait_for_message()
                with self._watch_message():
                    message = self._connection.recv()
            except (EOFError, OSError):
                raise WorkerError(self._exit_reason()) from None
            match message:
                case None:
                    return
                case WorkerHeartbeat():
                    yield None
                case WorkerFailure():
                    raise message.error
                case WorkerWarning():
                    warnings.warn(message.message, message.category, stacklevel=2)
                case _:
                    yield message

    def _wait_for_message(self) -> None:
        waited = 0.0
        while not self._connection.poll(HEARTBEAT_SECONDS):
            # The timeouts are added up, and no clock is read: while both processes are suspended (a
            # paused container), no time passes here, and the worker sends its heartbeat afterwards.
            waited += HEARTBEAT_SECONDS
            if waited >= HEARTBEAT_TIMEOUT_SECONDS:
                self._process.kill()
                raise WorkerError(f"the worker process has not responded for {waited:g} s")

    @contextmanager
    def _watch_message(self) -> Iterator[None]:
        """Kill the process if it hangs in the middle of a message, of which a part is there."""
        received, hangs = Event(), Event()

        def watch() -> None:
            waited = 0.0
            while not received.wait(HEARTBEAT_SECONDS):
                waited += HEARTBEAT_SECONDS
                if waited >= HEARTBEAT_TIMEOUT_SECONDS:
                    hangs.set()
                    self._process.kill()
                    # A process that the worker has started may hold the pipe's other end.
                    with socket.socket(fileno=os.dup(self._connection.fileno())) as pipe:
                        pipe.shutdown(socket.SHUT_RD)
                    return

        Thread(target=watch, daemon=True).start()
        try:
            yield
        except (EOFError, OSError):
            if hangs.is_set():
                reason = f"has not responded for {HEARTBEAT_TIMEOUT_SECONDS:g} s"
                raise WorkerError(f"the worker process {reason}") from None
            raise
        finally:
            received.set()

    def _exit_reason(self) -> str:
        try:
            code = self._process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            return "the worker process closed its connection but did not exit"
        if code == -signal.SIGKILL:
            return "the worker process was killed: the machine may be out of memory"
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        return f"the worker process stopped unexpectedly, {how}"

    def _start(self) -> None:
        self._connection, child_end = Pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "training.search.worker_process", str(child_end.fileno())],
            cwd=PROJECT_ROOT,
            # BLAS threads would keep spinning after each product, beside fits that need the core.
            env={"OPENBLAS_THREAD_TIMEOUT": "4"} | os.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # a library's output would corrupt that of --json
            pass_fds=[child_end.fileno()],
            start_new_session=True,  # only the parent is interrupted, and then stops the worker
        )
        child_end.close()

    def _stop(self) -> None:
        self._process.kill()
        try:
            self._process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            return  # a system call blocks it, as on a dead network drive; it exits afterwards
        if self._sender:
            # It fails now, unless a process that the worker started has inherited the pipe.
            self._sender.join(STOP_TIMEOUT_SECONDS)
            if self._sender.is_alive():  # it still uses the file descriptor
                return
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()


def _send(connection: Connection, job: object) -> None:
    try:
        connection.send(job)
    except OSError:  # the process stopped, which is reported while its models are received
        return
