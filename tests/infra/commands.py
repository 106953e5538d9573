"""The Makefile's targets and the CDK itself, run against an emulated account."""

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from contract.paths import PROJECT_ROOT
from tests.emulator.account import Account

Done = subprocess.CompletedProcess[str]


def make(account: Account, target: str, *arguments: str, **environment: str) -> str:
    """Run one of the Makefile's targets; it has to succeed."""
    return _said(try_make(account, target, *arguments, **environment))


def try_make(account: Account, target: str, *arguments: str, **environment: str) -> Done:
    return _run(account, ["make", target, *arguments], **environment)


def cdk(account: Account, *arguments: str) -> str:
    """Run the CDK itself, as one does who knows it and not the Makefile."""
    return _said(_run(account, [str(PROJECT_ROOT / "node_modules/.bin/cdk"), *arguments]))


def _run(account: Account, command: list[str], **environment: str) -> Done:
    # Without what the make that runs the tests was told: it would be told to this one as well.
    shell = {
        name: value for name, value in os.environ.items() if "MAKE" not in name and name != "ARGS"
    }
    own = {"STACK_INFRA__ALARM_EMAIL": "team@example.com", "CI": "true"}
    with _alone():
        return subprocess.run(
            command,
            cwd=PROJECT_ROOT,
            env={**shell, **own, **account.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )


@contextmanager
def _alone() -> Iterator[None]:
    """The CDK refuses to read templates while another of its processes writes some."""
    file = PROJECT_ROOT / ".local" / "cdk.lock"
    file.parent.mkdir(exist_ok=True)
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _said(done: Done) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
