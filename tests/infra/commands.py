"""Run the Makefile's targets and the CDK CLI against an emulated account."""

import fcntl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from contract.paths import PROJECT_ROOT
from tests.emulator.account import Account
from tests.helpers import environment_without_make

CompletedProcess = subprocess.CompletedProcess[str]
TIMEOUT_SECONDS = 900
CDK_COMMANDS = ("bootstrap", "deploy", "destroy", "diff", "synth")
"""The commands, of the Makefile and of the CDK CLI, that read or write the templates."""


def make(account: Account, target: str, *arguments: str, **environment: str) -> str:
    """Run a target of the Makefile, which must succeed, and return its output."""
    return _checked_output(try_make(account, target, *arguments, **environment))


def try_make(
    account: Account, target: str, *arguments: str, **environment: str
) -> CompletedProcess:
    """Run a target of the Makefile, which may fail."""
    return _run(account, ["make", target, *arguments], **environment)


def cdk(account: Account, *arguments: str) -> str:
    """Run the CDK CLI itself, as a user does who does not use the Makefile."""
    return _checked_output(_run(account, [str(PROJECT_ROOT / "node_modules/.bin/cdk"), *arguments]))


def _run(account: Account, command: list[str], **environment: str) -> CompletedProcess:
    own = {"STACK_INFRA__ALARM_EMAIL": "team@example.com", "CI": "true"}
    with _cdk_lock() if command[1] in CDK_COMMANDS else nullcontext():
        return subprocess.run(
            command,
            cwd=PROJECT_ROOT,
            env={**environment_without_make(), **own, **account.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )


@contextmanager
def _cdk_lock() -> Iterator[None]:
    """Run one CDK at a time: it does not read templates while another process writes them."""
    file = PROJECT_ROOT / ".local" / "cdk.lock"
    file.parent.mkdir(exist_ok=True)
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _checked_output(process: CompletedProcess) -> str:
    output = process.stdout + process.stderr
    assert process.returncode == 0, output
    return output
