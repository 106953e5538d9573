"""Make the previous release live again: `make rollback`."""

import json
import logging
from datetime import datetime

from contract.settings.loader import load_settings
from endpoints import get_target
from endpoints.target import TargetName
from scripts.console import main
from scripts.display import print_deployment
from scripts.options import JsonOption, StageOption, TargetOption

logger = logging.getLogger(__name__)


def command(
    as_json: JsonOption = False,
    target_name: TargetOption = TargetName.LOCAL,
    stage: StageOption = "",
) -> None:
    """Swap the live and the previous release."""
    settings = load_settings()
    target = get_target(settings, target_name, stage=stage)
    logger.info("Rolling back %s", settings.serving.endpoint)
    result = target.rollback()
    if as_json:
        print(json.dumps(result.as_json(), indent=2, default=datetime.isoformat))
    else:
        print_deployment(result)


if __name__ == "__main__":
    main(command)
