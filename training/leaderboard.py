"""The combinations of a training that are tracked, ranked by the metric."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from contract.settings.sections import MetricName
from training.metrics import loss
from training.result import LeaderboardEntry
from training.search.grid import EvaluatedPipeline, FamilyGrid

if TYPE_CHECKING:
    from training.runs.tracker import TrackedRun


@dataclass
class Leaderboard:
    """The tracked combinations, to which a training adds."""

    metric: MetricName
    entries: list[LeaderboardEntry]

    def add(self, entry: LeaderboardEntry) -> None:
        """Add a combination that has been tracked."""
        self.entries.append(entry)

    def ranked(self) -> Sequence[LeaderboardEntry]:
        """Sort by the metric, best first; ties by name, so that the order is deterministic."""
        return sorted(
            self.entries, key=lambda entry: (loss(entry.metrics, self.metric), entry.name)
        )

    @property
    def best(self) -> LeaderboardEntry:
        """The best combination so far."""
        return self.ranked()[0]

    def to_frame(self) -> pd.DataFrame:
        """Return the table that is logged to MLflow."""
        rows = [
            {
                "rank": rank,
                "combination": entry.name,
                **entry.metrics,
                "fit_seconds": entry.fit_seconds,
                "run_id": entry.run_id,
            }
            for rank, entry in enumerate(self.ranked(), start=1)
        ]
        return pd.DataFrame(rows)


def new_entry(evaluated: EvaluatedPipeline, run_id: str) -> LeaderboardEntry:
    """Return the entry of a combination that was just tracked."""
    return LeaderboardEntry(
        run_id=run_id,
        name=evaluated.name,
        family=evaluated.family,
        params=evaluated.params,
        metrics=evaluated.metrics,
        fit_seconds=evaluated.fit_seconds,
    )


def tracked_entries(
    tracked: "Mapping[str, TrackedRun]", grids: Sequence[FamilyGrid]
) -> list[LeaderboardEntry]:
    """Return the combinations of some grids that are tracked, in the order of the grids.

    Args:
        tracked: Finished runs by the names of their combinations.
        grids: The families with their combinations.
    """
    return [
        LeaderboardEntry(run.run_id, name, grid.name, params, run.metrics, run.fit_seconds)
        for grid in grids
        for params in grid.combinations
        if (run := tracked.get(name := grid.combination_name(params)))
    ]
