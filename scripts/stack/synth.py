"""Write and check a stage's templates, without an account: `make synth`."""

import logging

from contract.names import StackName, stack_name
from contract.paths import PROJECT_ROOT
from contract.settings.loader import load_settings
from scripts.aws import cdk
from scripts.console import main

logger = logging.getLogger(__name__)


def command() -> None:
    """Write the CloudFormation templates of a stage (STAGE=prod), and check them."""
    stage = load_settings().get_stage()
    folder = cdk.synthesise(stage).relative_to(PROJECT_ROOT)
    logger.info("Checked, with nothing found:")
    for part in StackName:
        print(f"{folder}/{stack_name(stage, part)}.template.json")


if __name__ == "__main__":
    main(command)
