"""A thread of its own for the calls to a tracking store.

Ctrl-C is raised in the main thread, at any instruction. Inside MLflow that could be the middle of a
database transaction, whose connection would keep SQLite's write lock: the runs could then not be
marked as KILLED. In this thread a call always completes, and the main thread is interrupted while
it waits for the result.
"""

from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread, current_thread
from typing import Any, TypeVar

from contract.errors import TrackingError

T = TypeVar("T")
BUSY_SECONDS = 5.0
"""How long `recover` waits for a call in progress."""


class CallThread:
    """Runs one call after the other in a daemon thread, which never delays the process's exit."""

    def __init__(self) -> None:
        """Start the thread."""
        self._abandoned: list[Thread] = []
        self._start()

    def call(self, function: Callable[[], T]) -> T:
        """Run a function in the thread; return its result, or raise its exception.

        The function may itself use `call`.
        """
        if current_thread() is self._thread:
            return function()
        if current_thread() in self._abandoned:
            raise TrackingError("interrupted")
        future: Future[T] = Future()
        self._queue.put((function, future))
        return future.result()

    def recover(self) -> None:
        """Make the next call possible soon: after an interrupt, a call may still be in progress.

        A call that doesn't complete, such as a request that is retried, is abandoned: its thread
        can't make another call.
        """
        future: Future[None] = Future()
        self._queue.put((lambda: None, future))
        try:
            future.result(BUSY_SECONDS)
        except TimeoutError:
            self._abandoned.append(self._thread)
            self._start()

    def _start(self) -> None:
        self._queue: SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = SimpleQueue()
        self._thread = Thread(target=_run, args=(self._queue,), daemon=True, name="mlflow")
        self._thread.start()


def _run(queue: "SimpleQueue[tuple[Callable[[], Any], Future[Any]]]") -> None:
    while True:
        function, future = queue.get()
        try:
            future.set_result(function())
        except BaseException as error:  # whatever it is, it belongs to the caller
            future.set_exception(error)
        # Or the last call's result, and an error's frames, would live until the next call.
        del function, future
