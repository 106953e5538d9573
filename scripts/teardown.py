"""Remove the endpoints and stop the MLflow UI: `make teardown`."""

import logging

from contract.settings.loader import load_settings
from endpoints import get_target
from endpoints.target import TargetName
from scripts.console import main
from scripts.local.mlflow_ui import MlflowUi
from scripts.options import StageOption, TargetOption

logger = logging.getLogger(__name__)


def command(target_name: TargetOption = TargetName.LOCAL, stage: StageOption = "") -> None:
    """Remove the endpoints and stop the MLflow UI; trained models and releases stay."""
    settings = load_settings()
    target = get_target(settings, target_name, stage=stage)
    logger.info("Removing the endpoints")
    removed = [*target.teardown()]
    if MlflowUi(settings).stop():
        removed.append("the MLflow UI")
    print(f"Removed: {', '.join(removed)}" if removed else "There was nothing to remove")


if __name__ == "__main__":
    main(command)
