"""Prepare an account and region for the CDK, once: `make bootstrap`."""

import logging

from contract.settings.loader import load_settings
from scripts.aws import cdk
from scripts.aws.account import Account, errors
from scripts.console import main

logger = logging.getLogger(__name__)


def command() -> None:
    """Prepare an account and region for the CDK: a bucket and roles of its own."""
    stage = load_settings().get_stage()
    account = Account(stage)
    logger.info(f"Preparing account {account.number} in {stage.region} for the CDK")
    _let_ecs_act(account)
    # Without a repository's or the bucket's name of our own, as any other CDK app expects them.
    cdk.run(["bootstrap", f"aws://{account.number}/{stage.region}"], stage)


def _let_ecs_act(account: Account) -> None:
    """Make the role that ECS acts as, which an account gets with its first cluster.

    That is too late for what is made right after the cluster, and fails without it.
    """
    iam = account.client("iam")
    with errors("the role of ECS"):
        try:
            iam.create_service_linked_role(AWSServiceName="ecs.amazonaws.com")
        except iam.exceptions.InvalidInputException as error:
            if "has been taken" not in str(error):
                raise


if __name__ == "__main__":
    main(command)
