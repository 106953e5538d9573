"""Endpoints: train, release, deploy and serve a model through one interface, `Target`."""

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
    supports_aws: bool = False,
) -> Target:
    """Return the target that a command acts on.

    Args:
        settings: Name the endpoint and the release store.
        name: This machine, or AWS.
        stage: The stage on AWS; by default the one in the settings.
        backend_type: How a local deployment runs. By default a deployment has the type of the live
            one, and the first deployment is a process.
        supports_aws: Whether the command can act on AWS.

    Raises:
        StackError: The command doesn't support AWS, there is no such stage, or a stage is passed
            for this machine.
    """
    if name is TargetName.AWS and not supports_aws:
        raise StackError("TARGET=aws: this command does not support AWS yet; nothing was changed")
    if name is TargetName.AWS:
        from endpoints.sagemaker.target import SageMakerTarget  # noqa: PLC0415

        return SageMakerTarget(settings, settings.get_stage(stage))
    if stage:
        raise StackError(
            f"STAGE={stage}: this command acts on this machine, and only AWS has stages; "
            "nothing was changed; run it without STAGE"
        )
    from endpoints.local import LocalTarget  # noqa: PLC0415 - only the target that is used

    return LocalTarget(settings, backend_type)
