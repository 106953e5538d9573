"""The interface of a target, and the results of its methods."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from contract.errors import StackError
from contract.release import Release
from contract.settings.loader import Settings

if TYPE_CHECKING:
    from training.result import Progress, TrainingResult

JSON = "application/json"


class TargetName(StrEnum):
    """Where a command acts."""

    LOCAL = "local"
    AWS = "aws"
    """A stage on AWS: the one that STAGE names, else the one in settings.toml."""


@dataclass(frozen=True)
class Deployment:
    """A release that is deployed to an endpoint."""

    model: str
    version: str
    digest: str
    """SHA-256 of the release's manifest, in hex."""
    live_since: datetime
    """When the release went live; for the previous one, when it last did."""
    started_at: datetime
    """When its server was started."""
    compute: str
    """What runs the server: `process 4711`, `container ...`, `2 x ml.m5.large`."""
    healthy: bool
    """Whether the server responds with this release's predictions."""

    @property
    def name(self) -> str:
        """The release's name, for messages: `house-prices version 2`."""
        return f"{self.model} version {self.version}"


@dataclass(frozen=True)
class DeploymentResult:
    """The result of a deployment or a rollback."""

    endpoint: str
    url: str
    """The URL that clients send requests to."""
    live: Deployment
    previous: Deployment | None
    """The release that a rollback makes live again."""
    changed: bool
    """False if the requested release was live and healthy already."""

    def as_json(self) -> dict[str, object]:
        """Return the result in plain types, for a program to parse."""
        return asdict(self)


@dataclass(frozen=True)
class Status:
    """The status of an endpoint."""

    endpoint: str
    url: str
    """The URL that clients send requests to."""
    live: Deployment | None
    previous: Deployment | None
    repaired: tuple[str, ...]
    """What was broken and has been repaired; one line per item."""
    problems: tuple[str, ...]
    """What is still broken; one line per item."""

    @property
    def healthy(self) -> bool:
        """Whether the endpoint responds, and a previous release, if any, can be rolled back to."""
        return self.live is not None and self.live.healthy and not self.problems

    def as_json(self) -> dict[str, object]:
        """Return the status in plain types, for a program to parse."""
        return {"healthy": self.healthy, **asdict(self)}


@dataclass(frozen=True)
class InvocationResponse:
    """The response of an endpoint."""

    body: bytes
    content_type: str
    attributes: Mapping[str, str]
    """`model`, `version` and `digest` of the release that responded, `imputed`, `unknown`."""

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest of the release that responded, in hex."""
        return self.attributes.get("digest", "").removeprefix("sha256:")


@dataclass(frozen=True)
class TrainingJob:
    """A training that another machine runs: a job on SageMaker."""

    name: str
    status: str
    """SageMaker's status, such as InProgress or Completed."""
    step: str
    """What the job is doing or why it ended, in words."""
    compute: str
    """What it runs on: `2 x ml.m5.large`."""
    started_at: datetime
    ended_at: datetime | None
    cost_usd: float | None
    """What it cost; None while it runs."""

    def as_json(self) -> dict[str, object]:
        """Return the job in plain types, for a program to parse."""
        return asdict(self)


class Target(ABC):
    """Where models are trained, released and served: this machine, or a stage on AWS.

    A target has one endpoint, which the settings name. At most two releases are deployed to it: the
    live one, which receives all requests, and the previous one, which `rollback` makes live again.
    `train`, `release`, `deploy` and `invoke` are the steps from a table to a prediction, in this
    order; each can be repeated, and skips what is done already.

    Methods return when they are done, and log their progress. A method that fails or is interrupted
    leaves the live release unchanged.
    """

    settings: Settings

    @abstractmethod
    def train(self, progress: "Progress", force: bool = False) -> "TrainingResult":
        """Train every combination of the grids that isn't tracked yet, and return all ranked.

        Args:
            progress: Receives each combination once it is tracked.
            force: Whether to train combinations that are tracked already.

        Raises:
            StackError: A setting or a table is invalid, the tracking store fails, or the worker
                process stopped. What was tracked before that is kept.
        """

    def start_training(self, force: bool = False) -> TrainingJob:
        """Start a training on another machine, and return without waiting for it.

        A training of the same data, code and settings that runs there already is returned instead.

        Args:
            force: Whether to train combinations that are tracked already.

        Raises:
            StackError: This target trains in the process of its caller, or the job can't start.
        """
        raise StackError("only a training job on AWS can be detached; nothing was changed")

    @property
    def running_job(self) -> str:
        """The job that an interrupted `train` leaves running, or "" if it leaves none."""
        return ""

    def stop_training(self) -> None:
        """Stop `running_job`; what is tracked is kept.

        Raises:
            StackError: There is no such job, or it can't be stopped.
        """
        raise StackError("no training job is running")

    def list_training_jobs(self) -> Sequence[TrainingJob]:
        """Return the latest trainings on other machines, the newest first."""
        return ()

    @abstractmethod
    def release(self, model: str | None = None) -> Release:
        """Release a tracked model; return the existing release if it was released before.

        Args:
            model: `runs:/<id>/model` or `models:/<name>/<version-or-alias>`; by default the winner
                of the latest training.

        Raises:
            ReleaseError: The model is not one of this project, or its ONNX export predicts
                differently.
            TrackingError: The tracking store fails, or has no such model.
        """

    @abstractmethod
    def deploy(self, version: str | None = None, model: str | None = None) -> DeploymentResult:
        """Make a release live, and keep the one that was live for `rollback`.

        The new release is started beside the live one, and receives traffic only after it has
        predicted its own check rows correctly. No request fails during the switch. A release that
        is live already is not deployed again, but repaired if it is unhealthy.

        Args:
            version: The release's version; by default the champion.
            model: `runs:/<id>/model` or `models:/<name>/<version-or-alias>` instead of a version;
                it is released first.

        Raises:
            ReleaseError: There is no such release, or one of its files was changed.
            EndpointError: The release does not start or its predictions differ from its check rows,
                or another deployment is in progress. The live release is unchanged.
        """

    @abstractmethod
    def rollback(self) -> DeploymentResult:
        """Make the previous release live, and the live one the previous.

        Raises:
            EndpointError: There is no previous release, it can't be made healthy, or a deployment
                is in progress.
        """

    @abstractmethod
    def status(self) -> Status:
        """Return the status of the endpoint, after repairing what can be repaired.

        Raises:
            EndpointError: The status can't be read.
        """

    @abstractmethod
    def invoke(
        self, body: bytes, content_type: str = JSON, accept: str = JSON
    ) -> InvocationResponse:
        """Invoke the endpoint, as any client of SageMaker does.

        Args:
            body: The body of the request.
            content_type: Its media type.
            accept: The media type of the response.

        Raises:
            EndpointError: The endpoint can't be reached, or returns an error, which the message
                includes.
        """

    @abstractmethod
    def teardown(self) -> tuple[str, ...]:
        """Remove the endpoints and everything that serves them; keep trainings and releases.

        Returns:
            What was removed, one line per item; empty if nothing was deployed.

        Raises:
            EndpointError: Something can't be removed; a second call continues.
        """
