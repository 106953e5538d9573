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
    model: Annotated[str, typer.Option(help="runs:/<id>/model or models:/<name>/<version>.")] = "",
    target: TargetOption = TargetName.LOCAL,
    stage: StageOption = "",
) -> None:
    """Release a tracked model as an ONNX graph with its manifest; show what was released."""
    settings = load_settings()
    releaser = get_target(settings, target, stage=stage)
    what = model or "the winner of the latest training"
    logger.info("Releasing %s as %s", what, settings.release.model)
    release = releaser.release(model or None)
    manifest, store = release.manifest, settings.resolve_path(settings.release.store)
    print(f"Released: {release.name} ({manifest.family}, sha256 {release.digest[:12]})")
    print(f"Stored in {store}/{manifest.model}/{manifest.version}")


if __name__ == "__main__":
    main(command)
