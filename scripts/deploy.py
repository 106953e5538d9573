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
    version: Annotated[str, typer.Option(help="Of the release; by default the champion.")] = "",
    model: Annotated[str, typer.Option(help="runs:/... or models:/...: release it first.")] = "",
    backend: Annotated[
        BackendType | None, typer.Option(help="By default what is live, else a process.")
    ] = None,
    as_json: JsonOption = False,
    target: TargetOption = TargetName.LOCAL,
    stage: StageOption = "",
) -> None:
    """Deploy a release beside the live one, check it, switch traffic, and keep the previous one."""
    settings = load_settings()
    deployer = get_target(settings, target, stage=stage, backend_type=backend)
    what = model or (f"version {version}" if version else "the champion")
    logger.info("Deploying %s of %s to %s", what, settings.release.model, settings.serving.endpoint)
    result = deployer.deploy(version or None, model or None)
    if as_json:
        print(json.dumps(result.as_json(), indent=2, default=datetime.isoformat))
    else:
        print_deployment(result)


if __name__ == "__main__":
    main(command)
