"""The time limits of emulated training jobs, as API_StoppingCondition.html describes them.

The hosts are stand-ins that run until they are stopped; nothing trains.
"""

import json
import time
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from tests.emulator import training_jobs
from tests.emulator.account import JOBS_FILE
from tests.emulator.training_jobs import ENDED, TrainingJob

STOPPED_WHILE_TRAINING = ["Starting", "Downloading", "Training", "Stopping", "Uploading"]


class _Host:
    """A host whose process ends when it gets SIGTERM."""

    def __init__(self, name: str, *_: Any) -> None:
        self.name, self._running = name, False

    def start(self, *_: Any) -> None:
        self._running = True

    def is_running(self) -> bool:
        return self._running

    def wait(self) -> int:
        return 0

    def terminate(self) -> None:
        self._running = False

    def lay_out(self) -> None: ...

    def download(self, _: Any) -> None: ...


@pytest.fixture(autouse=True)
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LogStream", "upload_archives"):
        monkeypatch.setattr(training_jobs, name, MagicMock())
    keys = dict.fromkeys(("AccessKeyId", "SecretAccessKey", "SessionToken"), "testing")
    sts = MagicMock(assume_role=lambda **_: {"Credentials": keys})
    monkeypatch.setattr(training_jobs, "client_at", lambda *_: sts)
    monkeypatch.setattr(training_jobs, "Host", _Host)
    monkeypatch.setattr(TrainingJob, "address", "http://127.0.0.1:9", raising=False)
    monkeypatch.setattr(TrainingJob, "folder", tmp_path, raising=False)


def _run(*, spot: bool, **limits: float) -> dict[str, Any]:
    """Run a job to its end; return its description."""
    job = TrainingJob(
        {
            "TrainingJobName": "job",
            "RoleArn": "arn:aws:iam::123456789012:role/training",
            "AlgorithmSpecification": {"TrainingImage": "image"},
            "OutputDataConfig": {"S3OutputPath": "s3://bucket/jobs/"},
            "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large"},
            "EnableManagedSpotTraining": spot,
            "StoppingCondition": limits,
        },
        "us-east-1",
    )
    deadline = time.monotonic() + 20
    while job.status not in ENDED:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return job.describe()


def _steps(job: dict[str, Any]) -> list[str]:
    return [step["Status"] for step in job["SecondaryStatusTransitions"]]


def test_spot_job_without_capacity_ends_at_its_wait_limit(tmp_path: Path) -> None:
    (tmp_path / JOBS_FILE).write_text(json.dumps({"capacity": False}))

    job = _run(spot=True, MaxRuntimeInSeconds=60, MaxWaitTimeInSeconds=0.3)

    assert job["TrainingJobStatus"] == "Stopped"
    assert _steps(job) == ["Starting", "Stopping", "MaxWaitTimeExceeded"]
    assert "TrainingStartTime" not in job


def test_wait_limit_includes_the_time_of_training() -> None:
    job = _run(spot=True, MaxRuntimeInSeconds=60, MaxWaitTimeInSeconds=0.3)

    assert job["TrainingJobStatus"] == "Stopped"
    assert _steps(job) == [*STOPPED_WHILE_TRAINING, "MaxWaitTimeExceeded"]


def test_job_is_stopped_at_its_runtime_limit() -> None:
    job = _run(spot=False, MaxRuntimeInSeconds=0.3)

    assert job["TrainingJobStatus"] == "Stopped"
    assert _steps(job) == [*STOPPED_WHILE_TRAINING, "MaxRuntimeExceeded"]
