"""The log lines of a job: which of them SageMaker reads metrics from, and what the caller reads."""

import json
import logging
import re
from collections.abc import Callable, Sequence

import pytest

from tests.helpers import Recorder
from training.progress_lines import (
    METRIC_DEFINITIONS,
    LogProgress,
    LogShareProgress,
    ProgressReader,
)
from training.result import LeaderboardEntry, Progress


def _entry(name: str, rmse: float) -> LeaderboardEntry:
    metrics = {"RMSE": rmse, "MAPE": 0.1, "R2": -1e-05}
    return LeaderboardEntry("3f2a", name, "ridge", {"alpha": 1}, metrics, 0.5)


FIRST, SECOND = _entry("ridge alpha=1", 2e4), _entry("ridge alpha=10", 3e4)
Log = Callable[[Progress], Sequence[str]]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    """A function that returns the lines for two combinations, one of them tracked before."""
    caplog.set_level(logging.INFO)

    def lines(progress: Progress) -> Sequence[str]:
        progress.started(3, 1, 100, 20, 10)
        progress.tracked(FIRST, FIRST)
        progress.tracked(SECOND, FIRST)
        return caplog.messages

    return lines


def _metrics(lines: Sequence[str]) -> dict[str, list[float]]:
    """Return the values of each metric, as SageMaker finds them."""
    found = {
        name: [float(value) for line in lines for value in re.findall(regex, line)]
        for name, regex in METRIC_DEFINITIONS.items()
    }
    return {name: values for name, values in found.items() if values}


def test_metrics_are_those_of_the_leader(log: Log) -> None:
    metrics = _metrics(log(LogProgress()))

    assert metrics == {
        "tracked": [2, 3],
        "best_RMSE": [2e4, 2e4],
        "best_MAPE": [0.1, 0.1],
        "best_R2": [-1e-05, -1e-05],
    }


def test_peer_logs_its_share_and_no_metrics(log: Log) -> None:
    lines = log(LogShareProgress("algo-2"))

    assert _metrics(lines) == {}
    tracked = [json.loads(line) for line in lines][-1]
    assert (tracked["host"], tracked["share_tracked"], tracked["share_total"]) == ("algo-2", 3, 3)
    assert tracked["combination"]["name"] == SECOND.name


def test_reader_reports_what_the_leader_has_logged(log: Log) -> None:
    recorder = Recorder()
    reader = ProgressReader(recorder)

    assert all(reader.read(line) for line in log(LogProgress()))

    assert (recorder.total, recorder.already_tracked, recorder.rows) == (3, 1, (100, 20, 10))
    assert recorder.entries == [FIRST, SECOND]
    assert recorder.bests == [FIRST, FIRST]
