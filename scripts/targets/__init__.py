"""The places where a model can be trained and deployed, behind one interface."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from contract.settings import Settings
from scripts.targets.base import Target

if TYPE_CHECKING:
    from scripts.targets.records import Engine


def choose(
    settings: Settings, say: Callable[[str], None], engine: "Engine | None" = None
) -> Target:
    """Return the target that the commands act on.

    Args:
        settings: Name the endpoint and the release store.
        say: Is told of each step.
        engine: What a deployment runs as on this machine: a process, or a container of the image.
            By default what is live stays what it is, and the first one is a process.
    """
    from scripts.targets.local import LocalTarget  # noqa: PLC0415 - only the one that is meant

    return LocalTarget(settings, say, engine)
