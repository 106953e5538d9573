"""What all commands share: arguments, logging, signals and exit codes.

Results go to standard output; progress and log go to standard error, so that `--json` stays clean.
"""

import functools
import inspect
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from contract.errors import StackError
from contract.process import (
    COMMAND_RETRIES,
    Interrupted,
    catch_signals,
    limit_mlflow_retries,
    log_warnings,
    reduce_garbage_collection,
    silence_libraries,
)

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 110
"""The width, in characters, of a table that is not printed to a terminal."""
OWN_LOGGERS = ("__main__", "aws", "benchmarks", "contract", "endpoints", "scripts", "training")
"""This project's loggers; `__main__` is the command itself, which `python -m` runs."""

Command = Callable[..., None]


def main(command: Command) -> NoReturn:
    """Run a command and exit: 0, or its error's exit code after one line that explains it."""
    reduce_garbage_collection()
    silence_libraries()
    limit_mlflow_retries(COMMAND_RETRIES)
    log_warnings()
    configure_logging()
    catch_signals()
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
