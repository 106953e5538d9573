"""A command for a target or a stage that it does not support is refused, and changes nothing."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from contract.paths import PROJECT_ROOT
from tests.helpers import environment_for, run_make, write_settings

MAKE_TARGETS = [
    "deploy-endpoint",
    "smoke-test",
    "teardown",
    "rollback",
    "release",
    "pipeline",
]


def make(target: str, *variables: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run the command of a make target, in this environment instead of the one of `make`."""
    lines = run_make("--dry-run", target, *variables).stdout
    command = shlex.split(next(line for line in lines.splitlines() if " -m scripts" in line))
    return subprocess.run(
        [sys.executable, *command[1:]],
        cwd=PROJECT_ROOT,
        env=environment_for(folder),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("target", MAKE_TARGETS)
def test_command_for_aws_does_not_act_on_this_machine(tmp_path: Path, target: str) -> None:
    write_settings(tmp_path)

    done = make(target, "TARGET=aws", "STAGE=prod", folder=tmp_path)

    assert_refused(done, tmp_path, "TARGET=aws: this command does not support AWS yet")


@pytest.mark.parametrize("target", ["deploy-endpoint", "teardown"])
def test_stage_without_aws_does_not_act_on_this_machine(tmp_path: Path, target: str) -> None:
    write_settings(tmp_path)

    done = make(target, "STAGE=prod", folder=tmp_path)

    assert_refused(
        done, tmp_path, "STAGE=prod: this command acts on this machine, and only AWS has stages"
    )


@pytest.mark.parametrize("target", ["train", "status"])
def test_unknown_stage_is_refused(tmp_path: Path, target: str) -> None:
    write_settings(tmp_path)

    done = make(target, "TARGET=aws", "STAGE=staging", folder=tmp_path)

    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: settings.toml: stages.staging: no such stage (defined: none)"
    ]


def test_training_here_can_not_be_detached(tmp_path: Path) -> None:
    write_settings(tmp_path)

    done = make("train", "ARGS=--detach", folder=tmp_path)

    assert_refused(done, tmp_path, "only a training job on AWS can be detached")


def assert_refused(done: "subprocess.CompletedProcess[str]", folder: Path, error: str) -> None:
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {error}; nothing was changed")
    assert [path.name for path in folder.iterdir()] == ["settings.toml"]  # and no .local
