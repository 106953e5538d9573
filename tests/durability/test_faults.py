"""Faults around a training: locked files, full disks, killed workers, unreachable servers."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.paths import PROJECT_ROOT
from endpoints.ports import find_free_port
from tests.durability.server import Server
from tests.durability.trainings import (
    GRIDS,
    TOTAL,
    Leaderboard,
    leaderboard_of,
    read_until,
    resume,
    runs_of,
    worker_of,
)
from tests.helpers import environment_for, start, write_settings


@pytest.mark.parametrize("tracked", [-1, 2])
def test_file_locked_for_ten_seconds_is_retried(
    folder: Path, uninterrupted: Leaderboard, tracked: int
) -> None:
    lock = sqlite3.connect(folder / ".local/mlflow.db", isolation_level=None)
    if tracked < 0:
        lock.execute("BEGIN EXCLUSIVE")
    process = start("scripts.train", "--json", folder=folder)
    if tracked >= 0:
        read_until(process, tracked)
        lock.execute("BEGIN EXCLUSIVE")
    time.sleep(10)
    lock.execute("ROLLBACK")
    lock.close()

    out, _ = process.communicate(timeout=60)

    assert process.returncode == 0, out
    assert leaderboard_of(resume(folder)) == uninterrupted


def test_killed_worker_is_reported_in_one_line(folder: Path, uninterrupted: Leaderboard) -> None:
    write_settings(folder, **{**GRIDS, "grids__xgboost": {"n_estimators": [5, 200_000]}})
    process = start("scripts.train", folder=folder)
    read_until(process, 6)
    os.kill(worker_of(process.pid), signal.SIGKILL)

    out, _ = process.communicate(timeout=60)

    assert process.returncode == 2
    reason = "the worker process was killed: the machine may be out of memory"
    assert out.splitlines()[-1] == f"error: {reason}"
    assert [run.info.status for run in runs_of(folder)[0]] == ["FAILED"]
    assert len([run for run in runs_of(folder)[1] if run.info.status == "FINISHED"]) == 6


def _small_disk(folder: Path, kilobytes: int) -> list[str] | None:
    """Return a command prefix that puts .local/ on a disk of this size; None where it can't."""
    mount = f"mount -t tmpfs -o size={kilobytes}k none {folder}/.local"
    inside = f"cp -r {folder}/.local {folder}/kept && {mount} && cp {folder}/kept/* {folder}/.local"
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    after = f'status=0; "$@" || status=$?; cp -r {folder}/.local/. {folder}/kept; exit $status'
    try:
        done = subprocess.run([*command, f"{mount}"], capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return [*command, f"{inside}; {after}", "sh"] if done.returncode == 0 else None


def test_full_disk_is_reported_in_one_line_and_the_training_resumes(
    folder: Path, uninterrupted: Leaderboard
) -> None:
    size = (folder / ".local/mlflow.db").stat().st_size // 1024
    disk = _small_disk(folder, size + 7000)
    if disk is None:
        pytest.skip("no separate disk here: `unshare --map-root-user` is missing or refused")
    done = subprocess.run(
        [*disk, sys.executable, "-m", "scripts.train"],
        cwd=PROJECT_ROOT,
        env=environment_for(folder),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: tracking at ")
    assert "No space left on device" in line or "disk is full" in line
    kept = len([line for line in done.stderr.splitlines() if line.startswith("[")])
    assert 0 < kept < TOTAL

    # With free space again.
    shutil.rmtree(folder / ".local")
    shutil.move(folder / "kept", folder / ".local")
    result = resume(folder)

    assert result["already_tracked"] >= kept
    assert leaderboard_of(result) == uninterrupted


@pytest.fixture
def port() -> int:
    return find_free_port()


@pytest.fixture
def server(folder: Path, port: int) -> Iterator[Server]:
    server = Server(folder, port)
    server.start()
    yield server
    server.kill()


def test_restarted_server_is_retried(
    folder: Path, uninterrupted: Leaderboard, server: Server
) -> None:
    process = start("scripts.train", folder=folder, MLFLOW_TRACKING_URI=server.uri)
    read_until(process, 3)
    server.kill()
    time.sleep(3)
    server.start()

    out, _ = process.communicate(timeout=120)

    assert process.returncode == 0, out
    assert "Traceback" not in out
    assert "no response from the tracking server; retrying" in out.splitlines()
    assert leaderboard_of(resume(folder)) == uninterrupted
    assert {run.info.status for run in runs_of(folder)[1]} <= {"FINISHED", "KILLED"}


def test_stopped_server_is_reported_in_one_line_and_the_training_resumes(
    folder: Path, uninterrupted: Leaderboard, server: Server
) -> None:
    timeouts = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
    process = start("scripts.train", folder=folder, MLFLOW_TRACKING_URI=server.uri, **timeouts)
    read_until(process, 3)
    server.kill()

    out, _ = process.communicate(timeout=120)

    assert process.returncode == 2, out
    reason = "no response: Connection refused"
    assert out.splitlines()[-1] == f"error: tracking at {server.uri}: {reason}"
    assert "Traceback" not in out
    server.start()
    result = resume(folder, server.uri)
    assert result["already_tracked"] >= 3
    assert leaderboard_of(result) == uninterrupted
