"""Release the winner of the latest training, or any tracked model: `make release`."""

import logging
from typing import Annotated

import typer

from contract.settings.loader import load_settings
from endpoints import get_target
from endpoints.target import TargetName
from scripts.console import main
from scripts.options import StageOption, TargetOption

logger = logging.getLogger(__name__)


def command(
    model: Annotated[
        str,
        typer.Option(help="runs:/<id>/model or models:/<name>/<version>; by default the winner."),
    ] = "",
    target_name: TargetOption = TargetName.LOCAL,
    stage: StageOption = "",
) -> None:
    """Release a tracked model as an ONNX graph with its manifest."""
    settings = load_settings()
    target = get_target(settings, target_name, stage=stage)
    source = model or "the winner of the latest training"
    logger.info("Releasing %s as %s", source, settings.release.model)
    release = target.release(model or None)
    manifest, store = release.manifest, settings.resolve_path(settings.release.store)
    print(f"Released: {release.name} ({manifest.family}, sha256 {release.digest[:12]})")
    print(f"Stored in {store}/{manifest.model}/{manifest.version}")


if __name__ == "__main__":
    main(command)
