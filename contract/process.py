"""What a process that trains sets up first: signals, libraries, retries, garbage collection."""

import atexit
import gc
import logging
import os
import signal
import threading
import time
import warnings
from types import FrameType

logger = logging.getLogger(__name__)

GRACE_SECONDS = 3.0
"""How long further interrupts are ignored: a parent process may forward the same Ctrl-C."""
LIBRARY_VARIABLES = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # onnxruntime sends telemetry from 1.29 on, unless this is set before it is loaded.
    "ORT_DISABLE_TELEMETRY": "1",
    # MLflow logs tracebacks of errors that it also raises; they are reported in one line.
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout is for results
    "GIT_PYTHON_REFRESH": "quiet",  # git may be missing
}
"""Variables that reduce the libraries' output: no start-up notes, no usage statistics."""
MAX_RETRIES_VARIABLE = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
COMMAND_RETRIES = 5
"""MLflow's retries for a user who waits: with waits of 0, 4, 8, 16 and 32 s, for one minute."""
JOB_RETRIES = 6
"""MLflow's retries in a training job: two minutes, in which a server's container is replaced.

The last wait of MLflow's default of 7 is two minutes. A host that waits would count as dead for the
other hosts of its job (`training.cluster.HostTimeouts.heartbeat_timeout`).
"""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM; `exit_code` is what a shell expects after that signal."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


def catch_signals(stop_seconds: float | None = None) -> None:
    """Raise Interrupted on SIGINT and SIGTERM, in the main thread.

    Args:
        stop_seconds: How long the process may clean up before it exits at once; None is unlimited.
    """
    first_at = 0.0

    def interrupt(number: int, _frame: FrameType | None) -> None:
        # Raised once: a second exception would cut off the cleanup. A signal after the grace
        # period is a new request, and exits at once.
        nonlocal first_at
        if first_at and time.monotonic() - first_at > GRACE_SECONDS:
            os._exit(128 + number)
        if not first_at:
            first_at = time.monotonic()
            if stop_seconds is not None:
                _exit_after(stop_seconds, 128 + number)
            raise Interrupted(number)

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)


def _exit_after(seconds: float, exit_code: int) -> None:
    timer = threading.Timer(seconds, os._exit, [exit_code])
    timer.daemon = True
    timer.start()


def silence_libraries() -> None:
    """Set LIBRARY_VARIABLES, except those that the user has set."""
    for name, value in LIBRARY_VARIABLES.items():
        os.environ.setdefault(name, value)


def limit_mlflow_retries(count: int) -> None:
    """Limit how often MLflow retries a request, unless the user has set the variable.

    Args:
        count: COMMAND_RETRIES or JOB_RETRIES.
    """
    os.environ.setdefault(MAX_RETRIES_VARIABLE, str(count))


def log_warnings() -> None:
    """Log a library's warning as one line, without the position in the library's source."""

    def log(message: Warning | str, category: type[Warning], *_: object) -> None:
        first_line = str(message).strip().partition("\n")[0]
        logger.warning("%s: %s", category.__name__, first_line)

    warnings.showwarning = log  # type: ignore[assignment]


def reduce_garbage_collection() -> None:
    """Keep the garbage collector from scanning the libraries again and again.

    They are a million objects that are never freed: scanning them took a second during loading,
    and another second at exit, when all memory is freed anyway.
    """
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
