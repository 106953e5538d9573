"""A whole training job, as SageMaker runs its container: folders, exit codes and signals."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from contract.release import load_release
from tests.durability.trainings import TOTAL, Leaderboard, leaderboard_of, runs_of
from tests.helpers import Recorder
from tests.training_job.container import (
    COMMAND,
    lay_out,
    read_until_tracked,
    result_of,
    run,
    start,
)
from training.progress_lines import METRIC_DEFINITIONS, ProgressReader

pytestmark = pytest.mark.timeout(200)
STOP_SECONDS = 120
"""After which SageMaker kills a container that it has sent SIGTERM."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folders of a job that ended, and its log."""
    opt_ml = lay_out(tmp_path_factory.mktemp("job"))
    code, log = run(opt_ml, TRAINING_JOB_NAME="job-1", TRAINING_HOURLY_USD="7200")
    assert code == 0, log
    return opt_ml, log


def test_job_leaves_the_release_and_the_result(
    finished: tuple[Path, str], uninterrupted: Leaderboard
) -> None:
    opt_ml, _ = finished
    result = result_of(opt_ml)

    assert leaderboard_of(result) == uninterrupted
    release = load_release(opt_ml / "model")
    assert result["release"]["digest"] == release.digest
    assert release.manifest.run_id == result["winner"]["run_id"]
    assert release.manifest.test_metrics
    assert not (opt_ml / "output/failure").exists()


def test_metric_definitions_match_the_log(finished: tuple[Path, str]) -> None:
    opt_ml, log = finished
    result = result_of(opt_ml)

    last = {name: float(re.findall(regex, log)[-1]) for name, regex in METRIC_DEFINITIONS.items()}

    assert last["tracked"] == TOTAL
    assert last["best_RMSE"] == result["winner"]["metrics"]["RMSE"]
    assert {name: last[f"test_{name}"] for name in ("RMSE", "MAPE", "R2")} == result["test_metrics"]


def test_log_contains_the_progress(finished: tuple[Path, str], uninterrupted: Leaderboard) -> None:
    recorder = Recorder()
    reader = ProgressReader(recorder)
    others = [line for line in finished[1].splitlines() if not reader.read(line)]

    assert (recorder.total, recorder.already_tracked) == (TOTAL, 0)
    assert sorted(entry.name for entry in recorder.entries) == sorted(
        name for name, _ in uninterrupted
    )
    assert recorder.bests[-1].name == uninterrupted[0][0]
    assert any(line.startswith("Released house-prices version 1") for line in others)
    assert not [line for line in others if "Warning" in line and "\n" in line]


def test_stopped_job_keeps_what_is_tracked_and_resumes_from_its_checkpoints(
    tmp_path: Path, uninterrupted: Leaderboard
) -> None:
    opt_ml = lay_out(tmp_path)
    started_at = time.monotonic()
    process = start(opt_ml, TRAINING_JOB_NAME="job-1")
    read_until_tracked(process, 3)
    process.send_signal(signal.SIGTERM)
    stopped_at = time.monotonic()
    process.communicate(timeout=STOP_SECONDS)

    assert process.returncode == 128 + signal.SIGTERM
    assert time.monotonic() - stopped_at < STOP_SECONDS
    stopped_seconds = _parent_metrics(opt_ml)["job_seconds"]
    assert 0 < stopped_seconds < time.monotonic() - started_at
    assert (opt_ml / "output/failure").read_text() == "interrupted; what is tracked is kept"
    # SageMaker restores nothing but the checkpoints.
    (opt_ml / "checkpoints").rename(tmp_path / "checkpoints")
    shutil.rmtree(opt_ml)
    shutil.rmtree(tmp_path / "tables")
    lay_out(tmp_path)
    (tmp_path / "checkpoints").rename(opt_ml / "checkpoints")
    resumed_at = time.monotonic()
    code, log = run(opt_ml, TRAINING_JOB_NAME="job-1")

    assert code == 0, log
    result = result_of(opt_ml)
    assert result["already_tracked"] >= 3
    assert leaderboard_of(result) == uninterrupted
    resumed_seconds = _parent_metrics(opt_ml)["job_seconds"] - stopped_seconds
    assert 0 < resumed_seconds < time.monotonic() - resumed_at


def test_killed_process_leaves_a_reason(tmp_path: Path) -> None:
    opt_ml = lay_out(tmp_path)
    process = start(opt_ml)
    read_until_tracked(process, 1)
    process.kill()
    process.communicate()

    reason = (opt_ml / "output/failure").read_text()
    assert reason.strip() == "the training process was killed; the instance may be out of memory"
    assert len(reason) <= 1024


@pytest.mark.parametrize(
    ("table", "content", "reason"),
    [
        (
            "train/train.csv",
            "Id,SalePrice\n1,2\n",
            "DataError: train.csv: no column 'MSSubClass' (data.categorical)",
        ),
        ("config/settings.toml", "data = 1", "SettingsError: settings.toml: data: "),
    ],
)
def test_invalid_input_fails_the_job_in_one_line(
    tmp_path: Path, table: str, content: str, reason: str
) -> None:
    opt_ml = lay_out(tmp_path)
    (opt_ml / "input/data" / table).write_text(content)

    code, log = run(opt_ml)

    assert code == 2
    failure = (opt_ml / "output/failure").read_text()
    assert reason in failure
    assert "\n" not in failure
    assert log.splitlines()[-1] == f"error: {failure}"
    assert "Traceback" not in log
    assert not (opt_ml / "model").exists()


def test_unreadable_password_fails_the_job_and_names_the_secret(tmp_path: Path) -> None:
    opt_ml = lay_out(tmp_path)
    secret = "arn:aws:secretsmanager:us-east-1:123456789012:secret:training"

    code, _ = run(
        opt_ml,
        MLFLOW_TRACKING_PASSWORD_SECRET=secret,
        AWS_ENDPOINT_URL="http://127.0.0.1:9",
        AWS_ACCESS_KEY_ID="testing",
        AWS_SECRET_ACCESS_KEY="testing",
        AWS_MAX_ATTEMPTS="1",
    )

    assert code == 2
    assert f"TrackingError: {secret}: the password" in (opt_ml / "output/failure").read_text()


def test_full_disk_fails_the_job_and_leaves_its_reason(tmp_path: Path) -> None:
    opt_ml = lay_out(tmp_path)
    _require_mounts(opt_ml)
    # Everything that SageMaker mounts is on one small disk, which the tracked models fill.
    script = (
        f"mount -t tmpfs -o size=600k none {opt_ml}/checkpoints && "
        f"mkdir {opt_ml}/checkpoints/output && "
        f"mount --bind {opt_ml}/checkpoints/output {opt_ml}/output && "
        f'status=0; "$@" || status=$?; cat {opt_ml}/output/failure; exit $status'
    )
    for name in ("checkpoints", "output"):
        (opt_ml / name).mkdir()
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh", *COMMAND],
        env={**os.environ, "SAGEMAKER_BASE_DIR": str(opt_ml)},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )

    assert done.returncode in {1, 2}, done.stdout
    assert re.search(r"No space left on device|disk is full|database or disk", done.stdout), (
        done.stdout
    )
    assert not (opt_ml / "model/manifest.json").exists()


def _parent_metrics(opt_ml: Path) -> dict[str, float]:
    """Return the metrics of the only parent run."""
    ((parent,), _) = runs_of(opt_ml / "checkpoints")
    return dict(parent.data.metrics)


def test_job_that_finds_the_finished_training_adds_no_cost(
    finished: tuple[Path, str],
) -> None:
    opt_ml, _ = finished
    before = _parent_metrics(opt_ml)

    code, log = run(opt_ml, TRAINING_JOB_NAME="job-2", TRAINING_HOURLY_USD="7200")

    assert code == 0, log
    assert result_of(opt_ml)["already_tracked"] == TOTAL
    assert before["job_seconds"] > 0
    assert before["job_cost_usd"] == pytest.approx(2 * before["job_seconds"], rel=1e-9)
    assert _parent_metrics(opt_ml) == before


def _require_mounts(folder: Path) -> None:
    command = ["unshare", "--mount", "--map-root-user", "mount", "-t", "tmpfs", "none", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no unshare: a small disk can't be mounted")
    if done.returncode:
        pytest.skip("mounting is not allowed: a small disk can't be mounted")
