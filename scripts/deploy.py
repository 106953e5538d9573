"""Put a release behind the endpoint: `make deploy-endpoint`."""

import json
import logging
from datetime import datetime
from typing import Annotated

import typer

from contract.settings.loader import load_settings
from endpoints import get_target
from endpoints.state import BackendType
from endpoints.target import TargetName
from scripts.console import main
from scripts.display import print_deployment
from scripts.options import JsonOption, StageOption, TargetOption

logger = logging.getLogger(__name__)


def command(
    version: Annotated[
        str, typer.Option(help="The release's version; by default the champion.")
    ] = "",
    model: Annotated[str, typer.Option(help="runs:/... or models:/..., to release first.")] = "",
    backend: Annotated[
        BackendType | None, typer.Option(help="By default that of the live deployment, or process.")
    ] = None,
    as_json: JsonOption = False,
    target_name: TargetOption = TargetName.LOCAL,
    stage: StageOption = "",
) -> None:
    """Start a release, check its predictions, switch traffic to it, and keep the previous one."""
    settings = load_settings()
    target = get_target(settings, target_name, stage=stage, backend_type=backend)
    source = model or (f"version {version}" if version else "the champion")
    logger.info(
        "Deploying %s of %s to %s", source, settings.release.model, settings.serving.endpoint
    )
    result = target.deploy(version or None, model or None)
    if as_json:
        print(json.dumps(result.as_json(), indent=2, default=datetime.isoformat))
    else:
        print_deployment(result)


if __name__ == "__main__":
    main(command)
