"""The log files of the local endpoint, whose size is bounded.

A server logs one line per request, for as long as it runs. Its standard output is a file, which it
can't rotate itself. The router therefore rotates the files of all servers and its own: it copies
the end of a large file to `<name>.1` and truncates the file. All files are opened with O_APPEND, so
that a server continues at the new end. A line that is written between the copy and the truncation
is lost, as with logrotate's `copytruncate`.

A log and its copy have at most twice `MAX_LOG_BYTES`, and what is written in
`ROTATION_INTERVAL_SECONDS`. The container engine bounds the logs of containers.
"""

import asyncio
import logging
import os
import shutil
from pathlib import Path

logger = logging.getLogger(__name__)

ROUTER_LOG = "router.log"
"""The router's log, in the folder of all endpoints."""
BACKEND_LOG = "log"
"""A backend's log, in its own folder."""
MAX_LOG_MIB = 10
MAX_LOG_BYTES = MAX_LOG_MIB * 2**20
ROTATION_INTERVAL_SECONDS = 5.0


async def rotate_periodically(endpoints_folder: Path) -> None:
    """Rotate the logs of all endpoints in a folder until the task is canceled."""
    while True:
        # In a thread, so that the copy delays no request.
        await asyncio.to_thread(rotate_logs, endpoints_folder)
        await asyncio.sleep(ROTATION_INTERVAL_SECONDS)


def rotate_logs(endpoints_folder: Path) -> None:
    """Rotate each log that is larger than the limit; log errors, and continue with the next one."""
    router_log = endpoints_folder / ROUTER_LOG
    for log in (router_log, *endpoints_folder.glob(f"*/*/{BACKEND_LOG}")):
        try:
            if log.stat().st_size > MAX_LOG_BYTES:
                _rotate(log)
        except FileNotFoundError:  # its server was removed in the meantime
            continue
        except OSError as error:
            logger.warning("%s can't be rotated: %s", log, error.strerror)


def remove_log(log: Path) -> None:
    """Remove a log, and the copy of its previous part."""
    for file in (log, _backup(log)):
        file.unlink(missing_ok=True)


def _rotate(log: Path) -> None:
    """Copy the last complete lines of a log, up to the limit, and truncate it."""
    with log.open("rb+") as file:
        try:
            file.seek(-MAX_LOG_BYTES, os.SEEK_END)
            file.readline()  # the rest of a line
            with _backup(log).open("wb") as backup:
                shutil.copyfileobj(file, backup)
        finally:
            # Even if the copy failed: on a full disk the space is needed most.
            file.truncate(0)


def _backup(log: Path) -> Path:
    return log.with_name(f"{log.name}.1")
