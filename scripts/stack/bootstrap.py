"""Prepare an AWS account and region for the CDK, once: `make bootstrap`."""

import logging
from contextlib import suppress

from aws.account import AwsAccount, aws_errors
from contract.names import TRAINING_LOG_GROUP
from contract.settings.loader import Settings, load_settings
from contract.settings.stage import Stage
from scripts.aws import cdk
from scripts.console import main

logger = logging.getLogger(__name__)


def command() -> None:
    """Create what all stages in an account and region share, and what the CDK needs."""
    settings = load_settings()
    stage = settings.get_stage()
    account = AwsAccount(stage)
    logger.info("Bootstrapping account %s in %s", account.account_id, stage.region)
    _create_ecs_role(account)
    _create_training_log_group(account, settings)
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


def _create_training_log_group(account: AwsAccount, settings: Settings) -> None:
    """Create the log group of training jobs, with a retention.

    All jobs of an account share it, and SageMaker would create it without a retention. It gets the
    longest one of the stages; a retention that was set before is kept.
    """
    stages = [{**settings.infra, **own} for own in settings.stages.values()]
    default = Stage.model_fields["log_retention_days"].default
    days = max(int(stage.get("log_retention_days", default)) for stage in stages)
    logs = account.client("logs")
    with aws_errors(TRAINING_LOG_GROUP):
        with suppress(logs.exceptions.ResourceAlreadyExistsException):
            logs.create_log_group(logGroupName=TRAINING_LOG_GROUP)
        found = logs.describe_log_groups(logGroupNamePrefix=TRAINING_LOG_GROUP)["logGroups"]
        groups = {group["logGroupName"]: group for group in found}
        if "retentionInDays" not in groups[TRAINING_LOG_GROUP]:
            logs.put_retention_policy(logGroupName=TRAINING_LOG_GROUP, retentionInDays=days)


if __name__ == "__main__":
    main(command)
