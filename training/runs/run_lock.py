"""The lock of a training's run, to which one process at a time writes.

A dead process doesn't block it on the same machine, and for five minutes at most on others.
"""

import fcntl
import os
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Self

from training.runs.tags import HEARTBEAT_TAG

HEARTBEAT_SECONDS = 60
HEARTBEAT_TIMEOUT_SECONDS = 300
"""A process on another machine without a heartbeat for this long counts as dead."""


class RunLock:
    """A lock of a training's run, and a context manager that releases it on exit.

    It is a lock on a file, which the operating system releases however the process ends; so on one
    machine the next process gets it at once. For other machines the run has a heartbeat tag.
    """

    def __init__(self, file: Path, handle: int | None) -> None:
        self._file, self._handle = file, handle
        self._released = Event()

    @classmethod
    def acquire(
        cls, folder: Path, run_id: str, running: bool, tags: Mapping[str, str]
    ) -> Self | None:
        """Acquire the lock of a run; return None if a live process holds it.

        Args:
            folder: This machine's lock files.
            run_id: The training's run.
            running: Whether the run's status is RUNNING.
            tags: The run's tags.
        """
        file = folder / run_id
        existed = file.exists()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:  # the folder can't be written: only the tags are left
            return None if running and _may_be_alive(tags, False) else cls(file, None)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The file must not be one that was just released, and so deleted.
            held = os.fstat(handle).st_ino == file.stat().st_ino
        except OSError:
            held = False
        lock = cls(file, handle)
        if held and not (running and _may_be_alive(tags, existed)):
            return lock
        if held:
            lock.release()
        else:
            os.close(handle)
        return None

    def start_heartbeat(self, send: Callable[[], None]) -> None:
        """Call `send` every minute from now on, in a thread; its exceptions are ignored."""

        def run() -> None:
            while not self._released.wait(HEARTBEAT_SECONDS):
                with suppress(Exception):  # an unreachable store is reported by the next log call
                    send()

        Thread(target=run, daemon=True).start()

    def release(self, terminated: bool = True) -> None:
        """Release the lock.

        Args:
            terminated: Whether the run's status says that it ended. If not, the file stays: it
                shows the next process that the run was on this machine.
        """
        self._released.set()
        if self._handle is not None:
            if terminated:
                with suppress(OSError):
                    self._file.unlink()
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.release(terminated=kind is None)


def is_locked(folder: Path, run_id: str) -> bool:
    """Return whether a process of this machine holds the lock of a run."""
    try:
        handle = os.open(folder / run_id, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def heartbeat() -> str:
    """Return the current value of HEARTBEAT_TAG: the machine, and seconds since 1970."""
    return f"{platform.node()} {int(time.time())}"


def _may_be_alive(tags: Mapping[str, str], was_locked_here: bool) -> bool:
    """Return whether the process of a run's heartbeat may be alive on another machine."""
    machine, _, seconds = tags.get(HEARTBEAT_TAG, "").rpartition(" ")
    if was_locked_here and machine == platform.node():
        return False
    return seconds.isdigit() and time.time() - int(seconds) < HEARTBEAT_TIMEOUT_SECONDS
