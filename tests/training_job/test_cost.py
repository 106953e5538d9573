"""Each job that trained adds its cost to the parent run, also one that failed."""

import signal
import time

import pytest

from contract.errors import DataError, HostError
from contract.process import Interrupted
from contract.settings.loader import Settings
from training.cluster import Cluster
from training.runs.mlflow_client import TrackingClient
from training.runs.tags import RESUME_ID_TAG
from training_job.cost import JobCost

HOSTS = ("algo-1", "algo-2")
HOURLY_USD = 1800.0


def _cost(settings: Settings, seconds: float, host: str = "algo-1") -> JobCost:
    """Return the cost of a job of two hosts that has run for some seconds."""
    cluster = Cluster("job-1", HOSTS, host)
    return JobCost(settings, cluster, HOURLY_USD, time.monotonic() - seconds)


def _start_run(settings: Settings, resume_id: str = "job-1") -> str:
    return TrackingClient(settings).create_run("grid-search", {RESUME_ID_TAG: resume_id})


def _metrics(settings: Settings, run_id: str) -> dict[str, float]:
    return dict(TrackingClient(settings).client.get_run(run_id).data.metrics)


def test_each_job_adds_to_the_cost_of_the_earlier_ones(settings: Settings) -> None:
    run_id = _start_run(settings)

    _cost(settings, 100).add_to(run_id)
    _cost(settings, 200).add_to(run_id)

    metrics = _metrics(settings, run_id)
    assert metrics["job_seconds"] == pytest.approx(300, abs=30)
    assert metrics["job_cost_usd"] == pytest.approx(metrics["job_seconds"], rel=1e-9)  # 2 hosts


def test_cost_is_unknown_without_a_price(settings: Settings) -> None:
    run_id = _start_run(settings)

    JobCost(settings, Cluster("job-1", HOSTS, "algo-1"), None, time.monotonic()).add_to(run_id)

    assert set(_metrics(settings, run_id)) == {"job_seconds"}


@pytest.mark.parametrize(
    "error",
    [HostError("algo-2 failed"), Interrupted(signal.SIGTERM), ValueError("defect")],
    ids=["error", "interrupt", "defect"],
)
def test_failed_job_adds_its_cost_to_the_run_with_its_resume_id(
    settings: Settings, error: BaseException
) -> None:
    own, other = _start_run(settings), _start_run(settings, "job-2")

    with pytest.raises(type(error)), _cost(settings, 100).added_after_failure():
        raise error

    assert _metrics(settings, own)["job_seconds"] == pytest.approx(100, abs=30)
    assert _metrics(settings, other) == {}


def test_failed_peer_and_invalid_input_add_nothing(settings: Settings) -> None:
    run_id = _start_run(settings)

    with pytest.raises(HostError), _cost(settings, 100, "algo-2").added_after_failure():
        raise HostError("the leader has ended")
    with pytest.raises(DataError), _cost(settings, 100).added_after_failure():
        raise DataError("train.csv: the table is empty")

    assert _metrics(settings, run_id) == {}


def test_unreachable_store_does_not_hide_why_the_job_failed(settings: Settings) -> None:
    away = settings.model_copy(
        update={"tracking": settings.tracking.model_copy(update={"uri": "http://127.0.0.1:9"})}
    )

    with pytest.raises(HostError, match="algo-2 failed"), _cost(away, 1).added_after_failure():
        raise HostError("algo-2 failed")
