"""What the commands share: their edge towards the shell, and how they speak to a person."""

import atexit
import gc
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

import typer

from contract.errors import StackError

GRACE_SECONDS = 3.0
"""After an interrupt, how long further ones are taken for the same one, sent again by a parent."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM; `exit_code` is what a shell expects after that signal."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


def say(line: str) -> None:
    """Write one line for the person who waits; results go to standard output instead."""
    print(line, file=sys.stderr, flush=True)


def main(command: Callable[..., None]) -> NoReturn:
    """Run a command and exit: 0, or its error's exit code after one line that explains it."""
    _collect_less_garbage()
    _quieten_libraries()
    logging.getLogger("urllib3.connectionpool").addHandler(_Waiting(logging.WARNING))
    _catch_signals()
    app = typer.Typer(add_completion=False)
    app.command()(command)
    parser = typer.main.get_command(app)
    try:
        # Not app(): it turns an interrupt into a plain return.
        with parser.make_context(Path(sys.argv[0]).stem, sys.argv[1:]) as context:
            parser.invoke(context)
    except typer.Exit as done:  # --help
        sys.exit(done.exit_code)
    except typer.Abort as abort:  # a question that nobody answers, or Ctrl-C in its place
        interrupt = abort.__context__
        say("")  # the question's own line
        say("interrupted" if isinstance(interrupt, Interrupted) else "error: not answered")
        sys.exit(interrupt.exit_code if isinstance(interrupt, Interrupted) else 2)
    except StackError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)
    except Interrupted as interrupt:
        say("interrupted")
        sys.exit(interrupt.exit_code)
    except Exception as error:
        # typer's usage errors know how to show themselves; anything else is a defect.
        if not hasattr(error, "format_message"):
            raise
        say(f"error: {error.format_message()}")
        sys.exit(2)
    sys.exit(0)


class _Waiting(logging.Handler):
    """Tells that a server is waited for, which MLflow's client does without a word."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg.startswith("Retrying"):
            say("waiting for the tracking server: no answer")


def _catch_signals() -> None:
    began = 0.0

    def interrupt(number: int, _frame: FrameType | None) -> None:
        # Once, or a second one would cut off the cleaning up. One that comes later is meant.
        nonlocal began
        if began and time.monotonic() - began > GRACE_SECONDS:
            os._exit(128 + number)
        if not began:
            began = time.monotonic()
            raise Interrupted(number)

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)


def _collect_less_garbage() -> None:
    """Keep the garbage collector from looking through the libraries again and again.

    They are a million objects that stay: to look through them took a second while they were loaded,
    and another one at the end, when all memory goes anyway.
    """
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)


def _quieten_libraries() -> None:
    """Keep libraries to the point: warnings in one line, no start-up notes, no usage statistics."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # MLflow logs the tracebacks of errors that it raises as well, and that are explained here.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # --json's place
    # A server that went away is waited for one minute; MLflow's own patience is more than four.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # git may be missing

    def show(message: Warning | str, category: type[Warning], *_: object) -> None:
        first = str(message).strip().splitlines()[0]
        say(f"warning: {category.__name__}: {first}")

    warnings.showwarning = show  # type: ignore[assignment]
