"""What a training returns, and what it reports on the way; loads no library."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol

from contract.settings.sections import MetricName

if TYPE_CHECKING:
    from training.metrics import Metrics
    from training.params import Params


@dataclass(frozen=True)
class LeaderboardEntry:
    """A tracked combination."""

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
    """Every combination, the best first."""
    test_metrics: "Metrics | None"
    """The winner's metrics on the test rows; None where the settings name no test table."""
    already_tracked: int
    """How many of the combinations an earlier training with the same fingerprint had tracked."""

    @property
    def winner(self) -> LeaderboardEntry:
        """The best combination on the validation rows."""
        return self.leaderboard[0]

    def as_json(self) -> Mapping[str, object]:
        """Return the result in plain types, for a program to parse."""
        return {**asdict(self), "winner": asdict(self.winner)}


class Progress(Protocol):
    """Receives the progress of a training."""

    def started(self, total: int, before: int, train: int, val: int, test: int) -> None:
        """Receive the number of combinations, of those tracked before, and of rows."""

    def tracked(self, entry: LeaderboardEntry, best: LeaderboardEntry) -> None:
        """Receive each combination once it is tracked, and the best one so far."""
