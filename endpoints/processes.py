"""Processes that outlive the command that starts them, and are found again whatever was lost.

Each carries a mark in its environment, which its own children inherit. What was written down of it
may be gone, and its number may be another program's by now: the mark can't be.
"""

import os
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from contract.paths import PROJECT_ROOT

MARK = "STACK_ENDPOINT_FOLDER"
"""The variable that says which endpoint's folder, or which folder of endpoints, a process is of."""
PATIENCE_SECONDS = 32.0
"""For how long a process may finish what it has begun before it is killed."""


def start(
    command: Sequence[str], folder: Path, log: Path, environment: Mapping[str, str]
) -> psutil.Process:
    """Start a process of its own session, which no terminal ends.

    Args:
        command: The program and its arguments.
        folder: What it is marked with.
        log: What it writes is added to this file.
        environment: Variables besides those of this process.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=PROJECT_ROOT,
            env={**os.environ, **environment, MARK: str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    started = psutil.Process(process.pid)
    # It has its environment a moment after it has begun; until then nobody finds it.
    while process.poll() is None and not is_alive(process.pid, folder):
        time.sleep(0.001)
    if process.returncode is None:
        process.returncode = 0  # else Python warns that it outlives the object, as it is meant to
    return started


def is_alive(pid: int, folder: Path) -> bool:
    """Tell whether a process is there, and is one that is marked with this folder."""
    try:
        process = psutil.Process(pid)
        marked = process.environ().get(MARK) == str(folder)
        return marked and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError):
        return False


def find(folder: Path, below: bool = False) -> list[psutil.Process]:
    """Return the processes that are marked with a folder.

    Args:
        folder: The mark.
        below: Whether a folder in that one is meant as well.
    """
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            mark = process.environ().get(MARK)
            same = mark == str(folder) or (below and mark and Path(mark).is_relative_to(folder))
            if same and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def family(pid: int | None) -> set[int]:
    """Return a process's number and those of its children, and of theirs."""
    if pid is None:
        return set()
    with suppress(psutil.Error):
        return {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
    return {pid}


def of_family(folder: Path, pid: int | None) -> list[psutil.Process]:
    """Return a process and its children, as far as they are marked with a folder."""
    numbers = family(pid)
    return [process for process in find(folder) if process.pid in numbers]


def stop(processes: Collection[psutil.Process], patience: float = PATIENCE_SECONDS) -> bool:
    """End processes: SIGTERM first, and SIGKILL for those that stay.

    Returns:
        Whether all are gone.
    """
    numbers = {process.pid for process in processes}
    for process in processes:
        with suppress(psutil.Error):
            # The others are told by their parent, which else would replace them.
            if process.ppid() not in numbers:
                process.terminate()
    left = _wait(processes, patience)
    for process in left:
        with suppress(psutil.Error):
            process.kill()
    return not _wait(left, 5)


def _wait(processes: Collection[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait for processes to end; return those that haven't."""
    deadline = time.monotonic() + seconds
    left = list(processes)
    while left := [process for process in left if not _has_ended(process)]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    return left


def _has_ended(process: psutil.Process) -> bool:
    # One that nobody has reaped yet has ended too: psutil's own waiting waits for that as well.
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
