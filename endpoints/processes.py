"""Background processes: they outlive the command that starts them, and can always be found again.

Each process has a marker in its environment, which its child processes inherit. A stored process
id may be lost, or may belong to another program by now; the marker can't be wrong.
"""

import os
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from contract.paths import PROJECT_ROOT

ENV_MARKER = "STACK_ENDPOINT_FOLDER"
"""The environment variable with the folder that a process belongs to: an endpoint's, or `ui`."""
STOP_TIMEOUT_SECONDS = 32.0
"""How long a process may take to finish its requests before it is killed."""
KILL_TIMEOUT_SECONDS = 5.0


def start(
    command: Sequence[str], folder: Path, log: Path, environment: Mapping[str, str]
) -> psutil.Process:
    """Start a process in a session of its own, so that closing the terminal does not stop it.

    Args:
        command: The program and its arguments.
        folder: The folder that the process is marked with.
        log: The file that its output is appended to. It is opened with O_APPEND, so that it can be
            truncated while the process writes to it.
        environment: Variables to add to those of this process.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=PROJECT_ROOT,
            env={**os.environ, **environment, ENV_MARKER: str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    started = psutil.Process(process.pid)
    # The environment is visible only a moment after the start; until then the process can't be
    # found by its marker.
    while process.poll() is None and not is_alive(process.pid, folder):
        time.sleep(0.001)
    if process.returncode is None:
        # Otherwise Python warns that the process outlives the object, which is intended.
        process.returncode = 0
    return started


def is_alive(pid: int, folder: Path) -> bool:
    """Return whether a process runs and is marked with this folder."""
    try:
        process = psutil.Process(pid)
        is_marked = process.environ().get(ENV_MARKER) == str(folder)
        return is_marked and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError):
        return False


def find_by_folder(folder: Path, recursive: bool = False) -> list[psutil.Process]:
    """Return the running processes that are marked with a folder.

    Args:
        folder: The folder.
        recursive: Whether to include processes that are marked with a folder inside it.
    """
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            marker = process.environ().get(ENV_MARKER)
            matches = marker == str(folder) or (
                recursive and marker and Path(marker).is_relative_to(folder)
            )
            if matches and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def process_tree(pid: int | None) -> set[int]:
    """Return the ids of a process and of all its descendants."""
    if pid is None:
        return set()
    with suppress(psutil.Error):
        return {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
    return {pid}


def find_in_tree(folder: Path, pid: int | None) -> list[psutil.Process]:
    """Return a process and its descendants, but only those that are marked with a folder."""
    pids = process_tree(pid)
    return [process for process in find_by_folder(folder) if process.pid in pids]


def stop(processes: Collection[psutil.Process], timeout: float = STOP_TIMEOUT_SECONDS) -> bool:
    """Stop processes: send SIGTERM, and SIGKILL to those that still run after the timeout.

    Args:
        processes: The processes; child processes may be among them.
        timeout: How long to wait for them after SIGTERM, in seconds.

    Returns:
        Whether all have stopped.
    """
    pids = {process.pid for process in processes}
    for process in processes:
        with suppress(psutil.Error):
            # Its parent stops a child process, and would replace one that stopped on its own.
            if process.ppid() not in pids:
                process.terminate()
    left = _wait(processes, timeout)
    for process in left:
        with suppress(psutil.Error):
            process.kill()
    return not _wait(left, KILL_TIMEOUT_SECONDS)


def _wait(processes: Collection[psutil.Process], timeout: float) -> list[psutil.Process]:
    """Wait for processes to exit; return those that still run."""
    deadline = time.monotonic() + timeout
    left = list(processes)
    while left := [process for process in left if not _has_exited(process)]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    return left


def _has_exited(process: psutil.Process) -> bool:
    # A zombie counts as exited; psutil's own wait() waits until its parent has reaped it.
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
