"""The worker: a process that fits, beside the one that tracks.

Two processes because both compute in Python, where the threads of one process wait for each other;
and because fits can then be ended at any moment, whatever library they are in. This module is the
parent's side, and loads nothing: a command starts the worker first of all, so that both load their
libraries at the same time. The process's side is `training.search.worker_process`.
"""

import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from threading import Thread
from typing import TYPE_CHECKING, Self

from contract.errors import WorkerError
from contract.paths import PROJECT_ROOT

if TYPE_CHECKING:
    from training.search.grid import FamilyGrid, PreparedData, ScoredModel


@dataclass(frozen=True)
class WorkerFailure:
    """From the process: what ended the fitting."""

    error: BaseException


@dataclass(frozen=True)
class WorkerWarning:
    """From the process: a warning of a library's."""

    message: str
    category: type[Warning]


class Worker:
    """A process that fits; in a `with`, at whose end it is gone.

    It ends with its parent, however that ends. What passes between the two is pickled, and is read
    nowhere else.
    """

    def __init__(self) -> None:
        """Start the process."""
        self._sender: Thread | None = None
        self._start()

    def fit(
        self, grids: "Sequence[FamilyGrid]", rows: "PreparedData", seed: int
    ) -> "Iterator[ScoredModel]":
        """Start to fit every combination; return an iterator over what comes of it, in any order.

        What it was fitting before is dropped.

        Raises:
            FamilyError: While iterating: a family refuses a parameter's value.
            WorkerError: While iterating: the process ended by itself.
        """
        if self._sender:
            self._end()
            self._start()
        job = (grids, rows, seed)
        # In a thread: the process may still be loading its libraries.
        self._sender = Thread(target=_send, args=(self._connection, job), daemon=True)
        self._sender.start()
        return self._take()

    def _take(self) -> "Iterator[ScoredModel]":
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                raise WorkerError(self._reason()) from None
            match message:
                case None:
                    return
                case WorkerFailure():
                    raise message.error
                case WorkerWarning():
                    warnings.warn(message.message, message.category, stacklevel=2)
                case _:
                    yield message

    def _reason(self) -> str:
        code = self._process.wait()
        if code == -signal.SIGKILL:
            return "the process that fits was killed: the machine may be out of memory"
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        return f"the process that fits ended by itself, {how}"

    def _start(self) -> None:
        self._connection, theirs = Pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "training.search.worker_process", str(theirs.fileno())],
            cwd=PROJECT_ROOT,
            # Threads of BLAS would spin on after each product, beside fits that need the core.
            env={"OPENBLAS_THREAD_TIMEOUT": "4"} | os.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # a library's chatter would be in the way of --json
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # an interrupt is the parent's, which then ends it
        )
        theirs.close()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        if self._sender:  # it fails now; closed under it, the pipe's number might be another's
            self._sender.join()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()


def _send(connection: Connection, job: object) -> None:
    try:
        connection.send(job)
    except OSError:  # the process ended: whoever takes what comes of it hears so
        return
