"""What a job costs, by its own clock: metrics of the parent run, to which each job adds its own.

SageMaker's bill is known after the end of a job only.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from contract.errors import DataError, SettingsError, TrackingError
from contract.settings.loader import Settings
from training.cluster import Cluster

if TYPE_CHECKING:
    from training.runs.mlflow_client import TrackingClient

SECONDS_METRIC = "job_seconds"
COST_METRIC = "job_cost_usd"


class JobCost:
    """The time of a job since the start of its container, and the price of its instances."""

    def __init__(
        self, settings: Settings, cluster: Cluster, hourly_usd: float | None, started_at: float
    ) -> None:
        """Nothing is logged yet.

        Args:
            settings: The tracking store.
            cluster: The hosts, each of which is an instance.
            hourly_usd: The price of one instance; None if it isn't known.
            started_at: When the container was started, by `time.monotonic`.
        """
        self._settings, self._cluster = settings, cluster
        self._hourly_usd, self._started_at = hourly_usd, started_at

    def add_to(self, run_id: str) -> None:
        """Add the cost to what earlier jobs have logged in the parent run.

        Raises:
            TrackingError: The tracking store is unreachable or fails.
        """
        from training.runs.mlflow_client import TrackingClient  # noqa: PLC0415 - slow to load

        self._add(TrackingClient(self._settings), run_id)

    @contextmanager
    def added_after_failure(self) -> Iterator[None]:
        """Add the cost on an exception as well: the next job resumes what this one has tracked.

        It is added by the leader, and to the run with this job's resume id, if there is one.
        """
        try:
            yield
        except (SettingsError, DataError):  # of the input: there is no run yet
            raise
        except BaseException:
            if self._cluster.is_leader and self._cluster.resume_id:
                # The store may be what failed, and the first error is the one that is raised.
                with suppress(TrackingError):
                    self._add_to_resumed_run(self._cluster.resume_id)
            raise

    def _add_to_resumed_run(self, resume_id: str) -> None:
        from training.runs.mlflow_client import TrackingClient, short_timeouts  # noqa: PLC0415
        from training.runs.tags import RESUME_ID_TAG  # noqa: PLC0415

        with short_timeouts():
            tracking = TrackingClient(self._settings)
            with tracking.errors():
                runs = tracking.search_runs(f"tags.`{RESUME_ID_TAG}` = '{resume_id}'")
            if runs:
                self._add(tracking, runs[0].info.run_id)

    def _add(self, tracking: "TrackingClient", run_id: str) -> None:
        seconds = time.monotonic() - self._started_at
        metrics = {SECONDS_METRIC: seconds}
        if self._hourly_usd is not None:
            metrics[COST_METRIC] = seconds / 3600 * len(self._cluster.hosts) * self._hourly_usd
        with tracking.errors():
            earlier = tracking.client.get_run(run_id).data.metrics
            total = {name: earlier.get(name, 0.0) + value for name, value in metrics.items()}
            tracking.log_batch(run_id, total)
