"""What the commands need of a place to train in and to deploy to: this machine, or AWS."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from contract.release import Release
from contract.settings.loader import Settings

if TYPE_CHECKING:
    from training.result import Progress, TrainingResult

JSON = "application/json"


class TargetName(StrEnum):
    """Where a command acts."""

    LOCAL = "local"
    AWS = "aws"
    """On a stage: the one that STAGE, or else settings.toml, names."""


@dataclass(frozen=True)
class Deployment:
    """A release that an endpoint has, live or kept."""

    model: str
    version: str
    digest: str
    """SHA-256 of the release's manifest, in hex."""
    live_since: datetime
    """When it went live; of a former one, when it last did."""
    started_at: datetime
    """When what runs it was started."""
    runs_as: str
    """What runs it, in words: `process 4711`, `container ...`, `2 x ml.m5.large`."""
    healthy: bool
    """Whether it answers, and answers as this release."""

    @property
    def name(self) -> str:
        """What a person calls it."""
        return f"{self.model} version {self.version}"


@dataclass(frozen=True)
class DeploymentResult:
    """What a deployment or a rollback has done to an endpoint."""

    endpoint: str
    url: str
    live: Deployment
    previous: Deployment | None
    """What a rollback goes back to."""
    changed: bool
    """False where what was asked for was live already, and in order."""

    def as_json(self) -> dict[str, object]:
        """Return it in plain types, for a program to read."""
        return asdict(self)


@dataclass(frozen=True)
class Status:
    """How an endpoint is."""

    endpoint: str
    url: str
    """Where clients send requests to."""
    live: Deployment | None
    previous: Deployment | None
    repaired: tuple[str, ...]
    """What was found broken and is in order again; a line each."""
    problems: tuple[str, ...]
    """What is still broken; a line each."""

    @property
    def healthy(self) -> bool:
        """Whether the endpoint answers requests, and can be rolled back if it has a former one."""
        return self.live is not None and self.live.healthy and not self.problems

    def as_json(self) -> dict[str, object]:
        """Return it in plain types, for a program to read."""
        return {"healthy": self.healthy, **asdict(self)}


@dataclass(frozen=True)
class InvocationResponse:
    """What an endpoint answered."""

    body: bytes
    content_type: str
    attributes: Mapping[str, str]
    """`model`, `version` and `digest` of the release that answered, `imputed`, `unknown`."""

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest of the release that answered, in hex."""
        return self.attributes.get("digest", "").removeprefix("sha256:")


class Target(ABC):
    """A place to train in and to deploy to, with one endpoint, which the settings name.

    A method returns when it is done, and says what it does on the way. One that is interrupted
    or fails leaves what was live as it was.
    """

    settings: Settings

    @abstractmethod
    def train(self, progress: "Progress", force: bool = False) -> "TrainingResult":
        """Train every combination of the grids that isn't tracked yet, and return all ranked.

        Args:
            progress: Receives each combination as it is tracked.
            force: Whether to train what is tracked already.

        Raises:
            StackError: A setting or a table isn't usable, the tracking store fails, or the worker
                died; what was tracked until then stays.
        """

    @abstractmethod
    def release(self, model: str | None = None) -> Release:
        """Release a tracked model; one that is released already is returned as it is.

        Args:
            model: `runs:/<id>/model` or `models:/<name>/<version-or-alias>`; by default the winner
                of the latest training.

        Raises:
            ReleaseError: The model isn't one of this project's, or its ONNX form predicts
                otherwise.
            TrackingError: The tracking store fails, or has no such model.
        """

    @abstractmethod
    def deploy(self, version: str | None = None, model: str | None = None) -> DeploymentResult:
        """Put a release behind the endpoint, and keep the one that was live for `rollback`.

        The new one is started beside the old and has to answer the release's own check rows before
        it gets traffic; no request fails by the move. What is live already is not deployed again,
        but mended where it is broken.

        Args:
            version: Of the release; by default the champion.
            model: `runs:/<id>/model` or `models:/<name>/<version-or-alias>` instead: it is released
                first.

        Raises:
            ReleaseError: There is no such release, or a file of it was changed.
            EndpointError: It doesn't start, it answers otherwise than its check rows say, or
                another deployment is under way. What was live is so still.
        """

    @abstractmethod
    def rollback(self) -> DeploymentResult:
        """Make the former release live again, and the live one the former.

        Raises:
            EndpointError: There is no former one, it can't be made to answer, or a deployment is
                under way.
        """

    @abstractmethod
    def status(self) -> Status:
        """Tell how the endpoint is, after mending what can be mended.

        Raises:
            EndpointError: It can't be found out.
        """

    @abstractmethod
    def invoke(
        self, body: bytes, content_type: str = JSON, accept: str = JSON
    ) -> InvocationResponse:
        """Ask the endpoint, as any client of SageMaker's would.

        Raises:
            EndpointError: It can't be reached, or refuses; the message holds its own words.
        """

    @abstractmethod
    def teardown(self) -> tuple[str, ...]:
        """Remove the endpoints and all that serves them; what was trained and released stays.

        Returns:
            What was removed, a line each; nothing where there was nothing.

        Raises:
            EndpointError: Something can't be removed; a second call goes on.
        """
