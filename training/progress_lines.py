"""The progress of a training as lines of JSON in a log, and back.

SageMaker reads the metrics of a job from its log by regular expressions, and the command that
started the job follows the same lines. Imports no third-party library.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from training.result import LeaderboardEntry, Progress, TrainingResult

logger = logging.getLogger(__name__)

METRIC_NAMES = ("RMSE", "MAPE", "R2")
METRIC_DEFINITIONS: Mapping[str, str] = {
    "tracked": r'"tracked": (\d+)',
    **{f"best_{name}": rf'"best_{name}": ([-+.\deE]+)' for name in METRIC_NAMES},
    **{f"test_{name}": rf'"test_{name}": ([-+.\deE]+)' for name in METRIC_NAMES},
}
"""The name of each metric of a job, and the regular expression whose group 1 is its value.

SageMaker searches the logs of all hosts, so only the leader may log lines that match.
https://docs.aws.amazon.com/sagemaker/latest/dg/define-train-metrics.html
"""


class LogProgress:
    """Logs each step of a training as one line of JSON, on one host or on the leader of several."""

    def __init__(self) -> None:
        self._total = self._tracked = 0

    def started(self, total: int, already_tracked: int, train: int, val: int, test: int) -> None:
        """Log the number of combinations and of rows."""
        self._total, self._tracked = total, already_tracked
        rows = {"train": train, "val": val, "test": test}
        _log({"event": "started", "total": total, "already_tracked": already_tracked, **rows})

    def tracked(self, entry: LeaderboardEntry, best: LeaderboardEntry) -> None:
        """Log a combination, and the metrics of the best one so far."""
        self._tracked += 1
        best_metrics = {f"best_{name}": value for name, value in best.metrics.items()}
        counts = {"tracked": self._tracked, "total": self._total}
        combination = {"combination": asdict(entry), "best": best.name}
        _log({"event": "tracked", **counts, **best_metrics, **combination})

    def finished(self, result: TrainingResult) -> None:
        """Log the winner, with its metrics on the validation and the test rows."""
        best = {f"best_{name}": value for name, value in result.winner.metrics.items()}
        test = {f"test_{name}": value for name, value in (result.test_metrics or {}).items()}
        _log({"event": "finished", **best, **test, "winner": result.winner.name})


class LogShareProgress:
    """Logs each step of a peer's share, in lines that match none of METRIC_DEFINITIONS.

    The leader logs the same combinations, once it has collected them, with their number in the
    whole training.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._total = self._tracked = 0

    def started(self, total: int, already_tracked: int, train: int, val: int, test: int) -> None:
        """Log the number of combinations of the share, and of rows."""
        self._total, self._tracked = total, already_tracked
        counts = {"share_total": total, "share_already_tracked": already_tracked}
        rows = {"train": train, "val": val, "test": test}
        _log({"event": "share_started", "host": self._host, **counts, **rows})

    def tracked(self, entry: LeaderboardEntry, best: LeaderboardEntry) -> None:
        """Log a combination, and the best one of the share so far."""
        self._tracked += 1
        counts = {"share_tracked": self._tracked, "share_total": self._total}
        combination = {"combination": asdict(entry), "share_best": best.name}
        _log({"event": "share_tracked", "host": self._host, **counts, **combination})


class ProgressReader:
    """Reports the progress that the leader's log contains, line by line."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._entries: dict[str, LeaderboardEntry] = {}

    def read(self, line: str) -> bool:
        """Report a line's progress; return whether the line is one of `LogProgress`."""
        message = _parse(line)
        match message.get("event"):
            case "started":
                rows = (message["train"], message["val"], message["test"])
                self._progress.started(message["total"], message["already_tracked"], *rows)
            case "tracked":
                entry = LeaderboardEntry(**message["combination"])
                if entry.name not in self._entries:  # a repeated job may repeat one
                    self._entries[entry.name] = entry
                    # The best may have been tracked by a previous job, whose log isn't followed.
                    self._progress.tracked(entry, self._entries.get(message["best"], entry))
            case "finished":
                pass
            case _:
                return False
        return True


def _log(message: Mapping[str, object]) -> None:
    logger.info("%s", json.dumps(message))


def _parse(line: str) -> dict[str, Any]:
    if not line.startswith('{"event": '):
        return {}
    try:
        return dict(json.loads(line))
    except ValueError:  # a line that was cut off
        return {}
