"""What a training knows before it opens the tracking store: data, grids, and this host's share."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from contract.settings.loader import Settings
from training.cluster import Cluster
from training.data.dataset import Dataset, Split, read_test, read_training, split
from training.search.grid import (
    EvaluatedModel,
    EvaluatedPipeline,
    FamilyGrid,
    PreparedData,
    plan_grids,
    prepare_data,
)
from training.search.shards import assign_shares

if TYPE_CHECKING:
    from training.runs.tracker import Tracker


@dataclass(frozen=True)
class TrainingPlan:
    """The data and the combinations of a training, and the share of the current host."""

    settings: Settings
    cluster: Cluster
    grids: list[FamilyGrid]
    """All combinations."""
    share: list[FamilyGrid]
    """The combinations that the current host fits."""
    data_split: Split
    test: Dataset | None
    prepared: PreparedData

    @classmethod
    def from_settings(cls, settings: Settings, cluster: Cluster) -> Self:
        """Read the tables, and validate all that needs no fit.

        Raises:
            StackError: A setting or a table is not usable.
        """
        grids = plan_grids(settings)
        data = read_training(settings)
        test = read_test(settings, data)
        data_split = split(data, settings)
        return cls(
            settings=settings,
            cluster=cluster,
            grids=grids,
            share=assign_shares(grids, cluster)[cluster.current_host],
            data_split=data_split,
            test=test,
            prepared=prepare_data(data_split, settings),
        )

    @property
    def rows(self) -> tuple[int, int, int]:
        """The numbers of training, validation and test rows."""
        test_rows = len(self.test.X) if self.test else 0
        return len(self.data_split.X_train), len(self.data_split.X_val), test_rows

    def open_tracker(self) -> "Tracker":
        """Load MLflow, which takes seconds, and connect to the store.

        Raises:
            TrackingError: No store responds at the URI within seconds, or it refuses.
        """
        from training.runs.fingerprint import fingerprint  # noqa: PLC0415 - slow to load
        from training.runs.tracker import Tracker  # noqa: PLC0415

        # Of all combinations, not of the share: on any number of hosts it is the same training.
        identity = fingerprint(self.settings, self.grids, self.data_split, self.test)
        return Tracker(self.settings, identity, self.cluster)

    def remaining(self, tracked: Collection[str]) -> list[FamilyGrid]:
        """Return the share without the combinations of these names."""
        return [grid.exclude(tracked) for grid in self.share]

    def pipelines(
        self, models: Iterator[EvaluatedModel | None]
    ) -> Iterator[EvaluatedPipeline | None]:
        """Turn the worker's models into whole pipelines; None, its heartbeat, stays None."""
        by_name = {grid.name: grid for grid in self.grids}
        for model in models:
            if model is None:
                yield None
            else:
                yield EvaluatedPipeline.from_model(model, by_name[model.family], self.prepared)


def combination_names(grids: Sequence[FamilyGrid]) -> list[str]:
    """Return the names of all combinations of some grids."""
    return [grid.combination_name(params) for grid in grids for params in grid.combinations]
