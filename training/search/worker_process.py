"""The worker process: it fits the grids of its first message, and sends the evaluated models.

`training.search.worker` starts it with the file descriptor of a pipe.
"""

import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from multiprocessing.connection import Connection
from queue import Empty, Queue
from threading import Thread

from training.search.export_check import check_export
from training.search.grid import FamilyGrid, PreparedData, fit_grids
from training.search.worker import (
    HEARTBEAT_SECONDS,
    WorkerFailure,
    WorkerHeartbeat,
    WorkerWarning,
)

MAX_QUEUED = 64
"""How many messages may wait to be sent."""


def work(connection: Connection) -> None:
    """Fit until all models are sent or the parent process has exited."""
    outbox: Queue[object] = Queue(MAX_QUEUED)
    sender = Thread(target=_send_all, args=(outbox, connection), daemon=True)
    sender.start()
    try:
        job: tuple[Sequence[FamilyGrid], PreparedData, int] = connection.recv()
    except EOFError:  # there is nothing to fit
        return
    Thread(target=_exit_with_parent, args=(connection,), daemon=True).start()

    def warn(message: Warning | str, category: type[Warning], *_: object) -> None:
        outbox.put(WorkerWarning(str(message), category))

    warnings.showwarning = warn  # type: ignore[assignment]
    try:
        grids, _, seed = job
        for grid in grids:
            check_export(grid, seed)
        for evaluated in fit_grids(*job):
            outbox.put(evaluated)
        outbox.put(None)
    except BaseException as error:
        error.add_note(f"In the worker process:\n{traceback.format_exc()}")
        outbox.put(WorkerFailure(error))
    sender.join()


def _send_all(outbox: "Queue[object]", connection: Connection) -> None:
    """Send messages, and heartbeats while there are none.

    A process that is stopped (SIGSTOP), or in a call that never returns and holds the GIL, sends no
    heartbeat. One that computes does, however long a fit takes.
    """
    message: object = WorkerHeartbeat()
    while not (message is None or isinstance(message, WorkerFailure)):
        try:
            message = outbox.get(timeout=HEARTBEAT_SECONDS)
        except Empty:
            message = WorkerHeartbeat()
        connection.send(message)


def _exit_with_parent(connection: Connection) -> None:
    try:
        connection.recv()
    except (EOFError, OSError):
        os._exit(1)


if __name__ == "__main__":
    # onnxruntime sends telemetry from 1.29 on, unless this is set before it is loaded.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    with Connection(int(sys.argv[1])) as pipe:
        work(pipe)
