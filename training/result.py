"""The result of a training and the protocol for its progress. Imports no third-party library."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from contract.settings.sections import MetricName

if TYPE_CHECKING:
    from training.metrics import Metrics
    from training.params import Params


@dataclass(frozen=True)
class LeaderboardEntry:
    """A combination of hyperparameters that is tracked as an MLflow run."""

    run_id: str
    name: str
    family: str
    params: "Params"
    metrics: "Metrics"
    """On the validation rows."""
    fit_seconds: float


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training."""

    tracking_uri: str
    experiment: str
    parent_run_id: str
    metric: MetricName
    leaderboard: Sequence[LeaderboardEntry]
    """Every combination, best first."""
    test_metrics: "Metrics | None"
    """The winner's metrics on the test rows; None if the settings name no test table."""
    already_tracked: int
    """Number of combinations that a previous training with the same fingerprint had tracked."""

    @property
    def winner(self) -> LeaderboardEntry:
        """The best combination on the validation rows."""
        return self.leaderboard[0]

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "TrainingResult":
        """Return the result that `as_json` returned.

        Raises:
            KeyError: A key is missing.
            TypeError: A key is unknown.
        """
        entries = [LeaderboardEntry(**entry) for entry in content["leaderboard"]]
        others = {name: value for name, value in content.items() if name != "winner"}
        return cls(**{**others, "leaderboard": entries})

    def as_json(self) -> Mapping[str, object]:
        """Return the result in types that `json` can serialize."""
        return {**asdict(self), "winner": asdict(self.winner)}


@dataclass(frozen=True)
class ShareResult:
    """What a host that is not the leader has contributed to a training."""

    parent_run_id: str
    combinations: int
    """Number of combinations in its share, all of which are tracked."""
    already_tracked: int
    """Number of those that a previous training had tracked."""


class Progress(Protocol):
    """Receives the progress of a training."""

    def started(self, total: int, already_tracked: int, train: int, val: int, test: int) -> None:
        """Report the number of combinations, of those already tracked, and of rows."""

    def tracked(self, entry: LeaderboardEntry, best: LeaderboardEntry) -> None:
        """Report a combination that has been tracked, and the best one so far."""
