"""Prepare an AWS account and region for the CDK, once: `make bootstrap`."""

import logging

from aws.account import AwsAccount, aws_errors
from contract.settings.loader import load_settings
from scripts.aws import cdk
from scripts.console import main

logger = logging.getLogger(__name__)


def command() -> None:
    """Create what the CDK needs in an account and region: its bucket and roles."""
    stage = load_settings().get_stage()
    account = AwsAccount(stage)
    logger.info("Bootstrapping account %s in %s", account.account_id, stage.region)
    _create_ecs_role(account)
    cdk.bootstrap(stage, account.account_id)


def _create_ecs_role(account: AwsAccount) -> None:
    """Create the service-linked role of ECS.

    AWS creates it with an account's first cluster. That is too late for the resources that
    CloudFormation creates right after the cluster: they fail without it.
    """
    iam = account.client("iam")
    with aws_errors("the service-linked role of ECS"):
        try:
            iam.create_service_linked_role(AWSServiceName="ecs.amazonaws.com")
        except iam.exceptions.InvalidInputException as error:
            if "has been taken" not in str(error):
                raise


if __name__ == "__main__":
    main(command)
