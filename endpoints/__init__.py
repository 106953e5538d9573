"""Endpoints: where a model is trained and deployed, behind one interface, `Target`."""

from typing import TYPE_CHECKING

from contract.errors import StackError
from contract.settings.loader import Settings
from endpoints.target import Target, TargetName

if TYPE_CHECKING:
    from endpoints.state import BackendType


def get_target(
    settings: Settings,
    name: TargetName = TargetName.LOCAL,
    *,
    stage: str = "",
    backend_type: "BackendType | None" = None,
) -> Target:
    """Return the target that a command acts on.

    Args:
        settings: Name the endpoint and the release store.
        name: This machine, or AWS.
        stage: The stage on AWS; by default the one that the settings name.
        backend_type: What a local deployment runs as. By default what is live keeps its type, and
            the first deployment is a process.

    Raises:
        StackError: There is no such target yet, or a stage is named where there are none.
    """
    if name is TargetName.AWS:
        raise StackError("TARGET=aws: this command can't act on AWS yet; nothing was done")
    if stage:
        raise StackError(
            f"STAGE={stage}: stages are on AWS, and this command acts on this machine; "
            "nothing was done"
        )
    from endpoints.local import LocalTarget  # noqa: PLC0415 - only the one that is asked for

    return LocalTarget(settings, backend_type)
