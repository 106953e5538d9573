"""Synthesize and check a stage's templates, without an AWS account: `make synth`."""

import logging

from contract.names import StackName, stack_name
from contract.paths import PROJECT_ROOT
from contract.settings.loader import load_settings
from scripts.aws import cdk
from scripts.console import main

logger = logging.getLogger(__name__)


def command() -> None:
    """Synthesize the CloudFormation templates of a stage, check them, and print their paths."""
    stage = load_settings().get_stage()
    assembly = cdk.synthesize(stage).relative_to(PROJECT_ROOT)
    logger.info("All checks passed. Templates:")
    for stack in StackName:
        print(f"{assembly}/{stack_name(stage, stack)}.template.json")


if __name__ == "__main__":
    main(command)
