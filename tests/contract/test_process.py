"""How long MLflow's client retries: a minute for a user, two for a job, and never for too long."""

import subprocess
import sys

import pytest
from mlflow.environment_variables import (
    MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR,
    MLFLOW_HTTP_REQUEST_BACKOFF_JITTER,
    MLFLOW_HTTP_REQUEST_MAX_RETRIES,
)
from mlflow.utils.request_utils import JitteredRetry

from contract.paths import PROJECT_ROOT
from contract.process import COMMAND_RETRIES, JOB_RETRIES, MAX_RETRIES_VARIABLE
from training.cluster import HostTimeouts


def _waits(retries: int) -> list[float]:
    """Return the waits between MLflow's requests, in seconds, without the random part."""
    retry = JitteredRetry(
        total=retries, backoff_factor=MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR.get(), backoff_jitter=0.0
    )
    waits = []
    for _ in range(retries):
        retry = retry.increment(error=ConnectionError())
        waits.append(retry.get_backoff_time())
    return waits


def test_command_retries_for_one_minute_and_a_job_for_two() -> None:
    assert sum(_waits(COMMAND_RETRIES)) == 60
    assert sum(_waits(JOB_RETRIES)) == 124


def test_host_that_waits_for_the_server_does_not_count_as_dead() -> None:
    timeouts = HostTimeouts()
    # What passes besides: an interval before the server was unreachable, the two that an outage
    # counts for, and one until the next reading.
    others = 4 * timeouts.heartbeat + MLFLOW_HTTP_REQUEST_BACKOFF_JITTER.get()

    assert max(_waits(JOB_RETRIES)) + others < timeouts.heartbeat_timeout
    assert (
        max(_waits(MLFLOW_HTTP_REQUEST_MAX_RETRIES.default)) + others > timeouts.heartbeat_timeout
    )


@pytest.mark.parametrize(
    ("start", "retries"),
    [
        (
            "import training_job.__main__ as job; job.run_job = lambda folders: show();"
            "job.main(['train'])",
            JOB_RETRIES,
        ),
        ("from scripts.console import main; main(show)", COMMAND_RETRIES),
    ],
    ids=["job", "command"],
)
@pytest.mark.parametrize("own", ["", "3"])
def test_process_sets_the_retries_unless_the_user_has(start: str, retries: int, own: str) -> None:
    script = f"import os\ndef show():\n    print(os.environ['{MAX_RETRIES_VARIABLE}'])\n{start}"
    environment = {MAX_RETRIES_VARIABLE: own} if own else {}

    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=PROJECT_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.split() == [own or str(retries)], done.stderr
