"""Stop what the project started: `make teardown`."""

import logging

from contract.settings.loader import load_settings
from endpoints import get_target
from endpoints.target import TargetName
from scripts.console import main
from scripts.local.mlflow_ui import MlflowUi
from scripts.options import StageOption, TargetOption

logger = logging.getLogger(__name__)


def command(target: TargetOption = TargetName.LOCAL, stage: StageOption = "") -> None:
    """Remove the endpoints and all that serves them; what was trained and released stays."""
    settings = load_settings()
    endpoints = get_target(settings, target, stage=stage)
    logger.info("Removing the endpoints")
    removed = [*endpoints.teardown()]
    if MlflowUi(settings).stop():
        removed.append("the MLflow UI")
    print(f"Removed: {', '.join(removed)}" if removed else "There was nothing to remove")


if __name__ == "__main__":
    main(command)
