"""Measure a command as a whole process: seconds, CPU seconds and memory."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from threading import Event, Thread

import psutil

from contract.errors import StackError
from contract.paths import PROJECT_ROOT

SAMPLE_SECONDS = 0.05
FORK_SECONDS = 0.5
"""How long a new process is not counted: it has its parent's pages until it executes a program."""
MEGABYTE = 1e6


class BenchmarkError(StackError):
    """A measured command failed, or a server didn't start or respond."""


@dataclass(frozen=True)
class Usage:
    """The resources that a command used, together with all processes that it started."""

    seconds: float
    cpu_seconds: float
    peak_megabytes: float
    """The sum of the processes' resident memory, sampled every 50 ms."""
    output: str
    """Its standard output."""


def measure(module: str, *arguments: str, **environment: str) -> Usage:
    """Run `python -m module` from start to exit, including imports.

    Args:
        module: The module to run with this Python, in the project's folder.
        arguments: Its command line.
        environment: Variables in addition to those of this process.

    Raises:
        BenchmarkError: The command failed.
    """
    with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=PROJECT_ROOT,
            env=_clean_environment() | environment,
            stdout=out,
            stderr=err,
        )
        peak = _PeakMemory(process.pid)
        try:
            # The usage includes the child processes that the command itself waited for.
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        finally:
            seconds = time.perf_counter() - start
            peak_bytes = peak.stop()
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode:
            last = (err.read().strip().splitlines() or ["no message"])[-1]
            raise BenchmarkError(f"{module} exited with code {process.returncode}: {last}")
        return Usage(seconds, usage.ru_utime + usage.ru_stime, peak_bytes / MEGABYTE, out.read())


def write_settings(folder: Path, *sections: str) -> dict[str, str]:
    """Write the project's settings and additional TOML sections to a folder.

    Returns:
        The environment variables with which a command uses these settings, and stores everything
        below that folder.
    """
    text = (PROJECT_ROOT / "settings.toml").read_text()
    text = text.replace('"data/', f'"{PROJECT_ROOT}/data/')
    (folder / "settings.toml").write_text("\n".join([text, *sections]))
    return {"STACK_SETTINGS": str(folder / "settings.toml")}


def _clean_environment() -> dict[str, str]:
    """Return this environment without settings, and with MLflow's telemetry disabled."""
    own = ("STACK_", "MLFLOW_")
    others = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    return others | {"MLFLOW_DISABLE_TELEMETRY": "true"}


class _PeakMemory:
    """The highest total of the memory of a process and its descendants."""

    def __init__(self, pid: int) -> None:
        self._stopped, self._peak = Event(), 0
        self._seen_at: dict[int, float] = {}
        self._thread = Thread(target=self._sample, args=(psutil.Process(pid),), daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """Stop sampling; return the peak in bytes."""
        self._stopped.set()
        self._thread.join()
        return self._peak

    def _sample(self, process: psutil.Process) -> None:
        while not self._stopped.wait(SAMPLE_SECONDS):
            try:
                processes = [process, *process.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            counted = [process for process in processes if not self._may_be_fork(process)]
            self._peak = max(self._peak, sum(map(_resident, counted)))

    def _may_be_fork(self, process: psutil.Process) -> bool:
        now = time.monotonic()
        return now - self._seen_at.setdefault(process.pid, now) < FORK_SECONDS


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:  # it has just exited
        return 0
