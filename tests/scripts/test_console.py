"""The commands' shared edge: output streams, log levels, warnings, errors and exit codes."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from contract.paths import PROJECT_ROOT
from tests.helpers import run


def run_command(body: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command with this body through scripts.console.main."""
    script = (
        "import logging, os, signal, warnings\n"
        "from contract.errors import StackError\n"
        "from scripts.console import main\n"
        f"def command() -> None:\n{textwrap.indent(body, '    ')}\n"
        "main(command)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("module", ["scripts.train", "scripts.stack.deploy", "scripts.ui"])
def test_help_lists_the_verbose_option(module: str, folder: Path) -> None:
    done = run(module, "--help", folder=folder)

    assert done.returncode == 0, done.stderr
    assert "--verbose" in done.stdout
    assert "-v" in done.stdout


def test_verbose_logs_debug_messages(folder: Path) -> None:
    quiet = run("scripts.status", folder=folder)
    verbose = run("scripts.status", "-v", folder=folder)

    assert f"debug: Loaded {folder}/settings.toml" in verbose.stderr.splitlines()
    assert "debug: " not in quiet.stderr
    assert verbose.stdout == quiet.stdout


def test_verbose_logs_what_libraries_do() -> None:
    body = "logging.getLogger('library').info('connected')"

    assert run_command(body).stderr == ""
    assert run_command(body, "-v").stderr == "connected\n"


def test_json_goes_to_stdout_and_progress_to_stderr(folder: Path) -> None:
    done = run("scripts.train", "--json", "-v", folder=folder)

    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["leaderboard"]) == 2
    lines = done.stderr.splitlines()
    assert any(line.startswith("Training ridge on train.csv") for line in lines)
    assert sum(line.startswith("[") for line in lines) == 2


def test_warning_of_a_library_is_one_line() -> None:
    done = run_command("warnings.warn('old format\\nfile.py:1: more', UserWarning)")

    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "warning: UserWarning: old format\n"


def test_stack_error_is_one_line_with_its_exit_code() -> None:
    done = run_command("raise StackError('settings.toml: no such file')")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: settings.toml: no such file\n"


def test_unexpected_error_has_a_traceback() -> None:
    done = run_command("raise ValueError('a defect')")

    assert done.returncode == 1
    assert done.stderr.startswith("Traceback ")
    assert done.stderr.splitlines()[-1] == "ValueError: a defect"


@pytest.mark.parametrize(("signal", "exit_code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_signal_runs_cleanup_and_sets_the_exit_code(signal: str, exit_code: int) -> None:
    body = f"try:\n    os.kill(os.getpid(), signal.{signal})\nfinally:\n    print('cleaned up')"
    done = run_command(body)

    assert (done.returncode, done.stdout) == (exit_code, "cleaned up\n")
    assert done.stderr == "interrupted\n"


def test_import_of_commands_changes_neither_signal_handlers_nor_the_environment() -> None:
    script = (
        "import os, signal\n"
        "numbers = (signal.SIGINT, signal.SIGTERM)\n"
        "handlers, environment = [signal.getsignal(n) for n in numbers], dict(os.environ)\n"
        "import scripts.train, scripts.pipeline, scripts.ui, scripts.stack.deploy\n"
        "assert [signal.getsignal(n) for n in numbers] == handlers\n"
        "assert dict(os.environ) == environment\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
