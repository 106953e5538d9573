"""Who may write to a training's runs: one process at a time, and none that is gone."""

import fcntl
import os
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Self

HEARTBEAT_TAG = "training.alive"
"""On a training's run: the machine that it is on, and when it last said that it lives there."""
HEARTBEAT_SECONDS = 60
HEARTBEAT_TIMEOUT_SECONDS = 300
"""A process on another machine that was silent for so long counts as gone."""


class RunLock:
    """A training's run, claimed for this process by a lock on a file; in a `with`, until its end.

    The lock ends with the process, however that ends, so on one machine the next one knows at
    once. To other machines the process says every minute that it lives.
    """

    def __init__(self, file: Path, handle: int | None) -> None:
        self._file, self._handle = file, handle
        self._over = Event()

    @classmethod
    def take(cls, folder: Path, run_id: str, running: bool, tags: Mapping[str, str]) -> Self | None:
        """Claim a run; return None where a process that lives has it.

        Args:
            folder: Where this machine's locks are.
            run_id: The training's run.
            running: Whether the run says of itself that it goes on.
            tags: The run's tags.
        """
        file = folder / run_id
        was_here = file.exists()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:  # a folder that can't be written: there is only what the tags say
            return None if running and _may_live(tags, False) else cls(file, None)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = os.fstat(handle).st_ino == file.stat().st_ino  # not one that was just given up
        except OSError:
            held = False
        claim = cls(file, handle)
        if held and not (running and _may_live(tags, was_here)):
            return claim
        if held:
            claim.release_lock()
        else:
            os.close(handle)
        return None

    def keep(self, beat: Callable[[], None]) -> None:
        """Call `beat` every minute from now on, in a thread; what it raises is passed over."""

        def go_on() -> None:
            while not self._over.wait(HEARTBEAT_SECONDS):
                with suppress(Exception):  # the store may be away: whoever needs it will say so
                    beat()

        Thread(target=go_on, daemon=True).start()

    def release_lock(self, ended: bool = True) -> None:
        """Let others have it.

        Args:
            ended: Whether the run says itself that it ended. Else the file stays, and says so.
        """
        self._over.set()
        if self._handle is not None:
            if ended:
                with suppress(OSError):
                    self._file.unlink()
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.release_lock(ended=kind is None)


def heartbeat() -> str:
    """Return what ALIVE_TAG is at this moment: the machine, and seconds since 1970."""
    return f"{platform.node()} {int(time.time())}"


def _may_live(tags: Mapping[str, str], locked_here: bool) -> bool:
    """Tell whether the process that a run is tagged with may be there, though no lock says so."""
    machine, _, seconds = tags.get(HEARTBEAT_TAG, "").rpartition(" ")
    if locked_here and machine == platform.node():
        return False
    return seconds.isdigit() and time.time() - int(seconds) < HEARTBEAT_TIMEOUT_SECONDS
