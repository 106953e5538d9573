"""What all commands share: arguments, logging, signals and exit codes.

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
"""How long further interrupts are ignored: a parent process may forward the same Ctrl-C."""
PIPE_WIDTH = 110
"""The width, in characters, of a table that is not printed to a terminal."""
OWN_LOGGERS = ("__main__", "benchmarks", "contract", "endpoints", "scripts", "training")
"""This project's loggers; `__main__` is the command itself, which `python -m` runs."""

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
    except typer.Abort as abort:  # a prompt without an answer, or Ctrl-C at the prompt
        interrupt = abort.__context__
        _print_error("")  # end the line of the prompt
        if isinstance(interrupt, Interrupted):
            _exit_interrupted(interrupt)
        _print_error("error: the prompt was not answered")
        sys.exit(2)
    except StackError as error:
        _print_error(f"error: {error}")
        sys.exit(error.exit_code)
    except Interrupted as interrupt:
        _exit_interrupted(interrupt)
    except Exception as error:
        # typer's usage errors format themselves; anything else is a defect, with its traceback.
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


def table_console(min_width: int = 0) -> "Console":
    """Return the console that tables are printed to: on standard output, without markup.

    Args:
        min_width: The least width in characters, however narrow the terminal is.
    """
    from rich.console import Console  # noqa: PLC0415 - slow to load

    width = None if sys.stdout.isatty() else PIPE_WIDTH
    console = Console(width=width, highlight=False, markup=False, soft_wrap=True)
    console.width = max(console.width, min_width)
    return console


def progress_console() -> "Console":
    """Return the console that progress bars are drawn on: on standard error."""
    from rich.console import Console  # noqa: PLC0415 - after the first line

    return Console(stderr=True)


class _StderrHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to the current sys.stderr, which a progress bar replaces while it is displayed."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.setFormatter(_LineFormatter())

    @property
    def stream(self) -> object:
        return sys.stderr


class _LineFormatter(logging.Formatter):
    """Formats a record as its message, preceded by the level unless that is INFO."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        return line if record.levelno == logging.INFO else f"{record.levelname.lower()}: {line}"


def _explain_retries(record: logging.LogRecord) -> bool:
    """Reword urllib3's warning about a retry: MLflow's client waits for a server this way."""
    if record.msg.startswith("Retrying"):
        record.msg, record.args = "no response from the tracking server; retrying", ()
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
    """Raise Interrupted on SIGINT and SIGTERM."""
    first_at = 0.0

    def interrupt(number: int, _frame: FrameType | None) -> None:
        # Raised once: a second exception would cut off the cleanup. A signal after the grace
        # period is a new request, and exits at once.
        nonlocal first_at
        if first_at and time.monotonic() - first_at > GRACE_SECONDS:
            os._exit(128 + number)
        if not first_at:
            first_at = time.monotonic()
            raise Interrupted(number)

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)


def _reduce_garbage_collection() -> None:
    """Keep the garbage collector from scanning the libraries again and again.

    They are a million objects that are never freed: scanning them took a second during loading,
    and another second at exit, when all memory is freed anyway.
    """
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)


def _silence_libraries() -> None:
    """Reduce the libraries' output: one-line warnings, no start-up notes, no usage statistics."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # onnxruntime sends telemetry from 1.29 on, unless this is set before it is loaded.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    # MLflow logs tracebacks of errors that it also raises; the commands explain those in one line.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # stdout is for --json
    # An unreachable server is retried for one minute; MLflow's default is more than four.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # git may be missing

    def log_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
        first_line = str(message).strip().partition("\n")[0]
        logging.getLogger("scripts").warning("%s: %s", category.__name__, first_line)

    warnings.showwarning = log_warning  # type: ignore[assignment]
