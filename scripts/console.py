"""The commands' shared edge: arguments, logging, signals and exit codes.

Results go to standard output; progress and log go to standard error, so that `--json` stays clean.
"""

import atexit
import functools
import gc
import inspect
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from contract.errors import StackError

if TYPE_CHECKING:
    from rich.console import Console

GRACE_SECONDS = 3.0
"""After an interrupt, how long further ones are taken for the same one, sent again by a parent."""
PIPE_WIDTH = 110
"""Columns of a table that is not printed to a terminal."""
OWN_LOGGERS = ("__main__", "benchmarks", "contract", "endpoints", "scripts", "training")

Command = Callable[..., None]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM; `exit_code` is what a shell expects after that signal."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


def main(command: Command) -> NoReturn:
    """Run a command and exit: 0, or its error's exit code after one line that explains it."""
    _reduce_garbage_collection()
    _silence_libraries()
    configure_logging()
    _catch_signals()
    app = typer.Typer(add_completion=False)
    app.command()(_with_verbose_option(command))
    parser = typer.main.get_command(app)
    try:
        # Not app(): it turns an interrupt into a plain return.
        with parser.make_context(Path(sys.argv[0]).stem, sys.argv[1:]) as context:
            parser.invoke(context)
    except typer.Exit as done:  # --help, or a command's own exit code
        sys.exit(done.exit_code)
    except typer.Abort as abort:  # a question that nobody answers, or Ctrl-C in its place
        interrupt = abort.__context__
        _print_error("")  # the question's own line
        if isinstance(interrupt, Interrupted):
            _exit_interrupted(interrupt)
        _print_error("error: not answered")
        sys.exit(2)
    except StackError as error:
        _print_error(f"error: {error}")
        sys.exit(error.exit_code)
    except Interrupted as interrupt:
        _exit_interrupted(interrupt)
    except Exception as error:
        # typer's usage errors format themselves; anything else is a defect.
        if not hasattr(error, "format_message"):
            raise
        _print_error(f"error: {error.format_message()}")
        sys.exit(2)
    sys.exit(0)


def configure_logging(verbose: bool = False) -> None:
    """Log to standard error: this project's INFO and the libraries' WARNING, or more.

    Args:
        verbose: Whether to log this project's DEBUG and the libraries' INFO as well.
    """
    root = logging.getLogger()
    if not any(isinstance(handler, _StderrHandler) for handler in root.handlers):
        root.addHandler(_StderrHandler())
        logging.getLogger("urllib3.connectionpool").addFilter(_explain_retries)
    root.setLevel(logging.INFO if verbose else logging.WARNING)
    for name in OWN_LOGGERS:
        logging.getLogger(name).setLevel(logging.DEBUG if verbose else logging.INFO)


def table_console() -> "Console":
    """Return the console that tables are printed to: on standard output, without markup."""
    from rich.console import Console  # noqa: PLC0415 - after the first line

    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(width=width, highlight=False, markup=False, soft_wrap=True)


class _StderrHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to whatever sys.stderr is at the moment: a progress bar replaces it while it lives."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.setFormatter(_LineFormatter())

    @property
    def stream(self) -> object:
        return sys.stderr


class _LineFormatter(logging.Formatter):
    """One line: the message, behind its level where that is not INFO."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        return line if record.levelno == logging.INFO else f"{record.levelname.lower()}: {line}"


def _explain_retries(record: logging.LogRecord) -> bool:
    """Reword urllib3's warning of a retry, by which MLflow's client waits for a server."""
    if record.msg.startswith("Retrying"):
        record.msg, record.args = "no answer from the tracking server: retrying", ()
        record.levelno, record.levelname = logging.INFO, "INFO"
    return True


def _with_verbose_option(command: Command) -> Command:
    """Add `-v` to a command's options."""

    @functools.wraps(command)
    def run(*, verbose: bool, **options: object) -> None:
        configure_logging(verbose)
        command(**options)

    option = Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")]
    signature = inspect.signature(command)
    parameter = inspect.Parameter(
        "verbose", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=option
    )
    parameters = [*signature.parameters.values(), parameter]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {**command.__annotations__, "verbose": option}
    return run


def _print_error(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _exit_interrupted(interrupt: Interrupted) -> NoReturn:
    _print_error("interrupted")
    sys.exit(interrupt.exit_code)


def _catch_signals() -> None:
    began = 0.0

    def interrupt(number: int, _frame: FrameType | None) -> None:
        # Once, or a second one would cut off the cleanup. One that comes later is meant.
        nonlocal began
        if began and time.monotonic() - began > GRACE_SECONDS:
            os._exit(128 + number)
        if not began:
            began = time.monotonic()
            raise Interrupted(number)

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)


def _reduce_garbage_collection() -> None:
    """Keep the garbage collector from scanning the libraries again and again.

    They are a million objects that stay: scanning them took a second while they were loaded, and
    another one at exit, when all memory is freed anyway.
    """
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)


def _silence_libraries() -> None:
    """Reduce the libraries' output: one-line warnings, no start-up notes, no usage statistics."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # onnxruntime sends telemetry from 1.29 on, unless this is set before it is loaded.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    # MLflow logs the tracebacks of errors that it raises as well, and that are explained here.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # --json's place
    # A server that went away is retried for one minute; MLflow's own default is more than four.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # git may be missing

    def show(message: Warning | str, category: type[Warning], *_: object) -> None:
        first = str(message).strip().splitlines()[0]
        logging.getLogger("scripts").warning("%s: %s", category.__name__, first)

    warnings.showwarning = show  # type: ignore[assignment]
