"""Running a command as a whole process, and what it takes: seconds, processor time and memory."""

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
MEGABYTE = 1e6


class BenchmarkError(StackError):
    """A command that is measured failed."""


@dataclass(frozen=True)
class Usage:
    """What a command took, with all processes that it started."""

    seconds: float
    cpu_seconds: float
    peak_megabytes: float
    """Of resident memory, the processes' added up; sampled every 50 ms."""
    output: str
    """What it printed as its result."""


def measure(module: str, *arguments: str, **environment: str) -> Usage:
    """Run `python -m module` from its start to its end, imports included.

    Args:
        module: To run with this Python, in the project's folder.
        arguments: Its command line.
        environment: Variables in addition to this process's.

    Raises:
        BenchmarkError: It failed.
    """
    with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=PROJECT_ROOT,
            env=_quiet() | environment,
            stdout=out,
            stderr=err,
        )
        peak = _Peak(process.pid)
        try:
            # What `wait` says includes the processes that it waited for itself.
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        finally:
            seconds = time.perf_counter() - began
            highest = peak.stop()
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode:
            last = (err.read().strip().splitlines() or ["no message"])[-1]
            raise BenchmarkError(f"{module} ended with exit code {process.returncode}: {last}")
        return Usage(seconds, used.ru_utime + used.ru_stime, highest / MEGABYTE, out.read())


def settings_in(folder: Path, *tables: str) -> dict[str, str]:
    """Write the project's settings, and more TOML tables, in a folder; return what names them.

    What a command then tracks is below that folder.
    """
    text = (PROJECT_ROOT / "settings.toml").read_text()
    text = text.replace('"data/', f'"{PROJECT_ROOT}/data/')
    (folder / "settings.toml").write_text("\n".join([text, *tables]))
    return {"STACK_SETTINGS": str(folder / "settings.toml")}


def _quiet() -> dict[str, str]:
    """Return this environment without what would change a command, or let MLflow call home."""
    own = ("STACK_", "MLFLOW_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    return kept | {"MLFLOW_DISABLE_TELEMETRY": "true"}


class _Peak:
    """The highest sum of the memory of a process and of those below it."""

    def __init__(self, pid: int) -> None:
        self._over, self._highest = Event(), 0
        self._thread = Thread(target=self._sample, args=(psutil.Process(pid),), daemon=True)
        self._thread.start()

    def stop(self) -> int:
        self._over.set()
        self._thread.join()
        return self._highest

    def _sample(self, process: psutil.Process) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            try:
                everyone = [process, *process.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            self._highest = max(self._highest, sum(map(_resident, everyone)))


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:  # it ended in this moment
        return 0
