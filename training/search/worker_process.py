"""The worker's process: it fits what its first message says, and sends what comes of it.

`training.search.worker` starts it, with the number of a pipe's file descriptor.
"""

import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from multiprocessing.connection import Connection
from queue import Queue
from threading import Thread

from training.search.export_check import check_export
from training.search.grid import FamilyGrid, PreparedData, fit_grids
from training.search.worker import WorkerFailure, WorkerWarning

FITTED_AHEAD = 64
"""How many fitted combinations may wait to be taken."""


def work(connection: Connection) -> None:
    """Fit until all is sent, or the parent is gone."""
    try:
        job: tuple[Sequence[FamilyGrid], PreparedData, int] = connection.recv()
    except EOFError:  # nothing is to be fitted
        return
    Thread(target=_end_with_parent, args=(connection,), daemon=True).start()
    outbox: Queue[object] = Queue(FITTED_AHEAD)
    sender = Thread(target=_send_all, args=(outbox, connection))
    sender.start()

    def warn(message: Warning | str, category: type[Warning], *_: object) -> None:
        outbox.put(WorkerWarning(str(message), category))

    warnings.showwarning = warn  # type: ignore[assignment]
    try:
        grids, _, seed = job
        for grid in grids:
            check_export(grid, seed)
        for scored in fit_grids(*job):
            outbox.put(scored)
        outbox.put(None)
    except BaseException as error:
        error.add_note(f"In the worker:\n{traceback.format_exc()}")
        outbox.put(WorkerFailure(error))
    sender.join()


def _send_all(outbox: "Queue[object]", connection: Connection) -> None:
    while True:
        message = outbox.get()
        connection.send(message)
        if message is None or isinstance(message, WorkerFailure):
            return


def _end_with_parent(connection: Connection) -> None:
    try:
        connection.recv()
    except (EOFError, OSError):
        os._exit(1)


if __name__ == "__main__":
    with Connection(int(sys.argv[1])) as pipe:
        work(pipe)
