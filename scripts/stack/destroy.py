"""Delete a stage: `make destroy`."""

import logging

import typer

from aws.account import AwsAccount, StackNotDeployedError, aws_errors
from contract.errors import InfraError
from contract.names import BASTION_STARTED_BY, StackName, StackOutput
from contract.settings.loader import load_settings
from scripts.aws import cdk
from scripts.aws.buckets import disable_access_logging, empty_bucket
from scripts.console import main
from scripts.options import YesOption

logger = logging.getLogger(__name__)

Outputs = dict[StackOutput, str]


def command(yes: YesOption = False) -> None:
    """Delete a stage's stacks and all of their data: releases, runs, images and logs.

    Production stages are refused: their stacks are protected, and their data must stay.
    """
    stage = load_settings().get_stage()
    account = AwsAccount(stage)
    if stage.production:
        raise InfraError(
            f"{stage.name} is a production stage: its stacks are protected and its data stays; "
            "docs/operations.md describes how to delete one by hand"
        )
    logger.info(
        "This deletes %s in account %s, %s, with all of its data",
        stage.prefix,
        account.account_id,
        stage.region,
    )
    if not yes and typer.prompt("Type the stage's name to confirm", err=True) != stage.name:
        logger.info("Nothing was deleted")
        return
    cdk.synthesize(stage)
    _stop_bastion_tasks(account)
    base = _outputs(account, StackName.BASE)
    # Monitoring uses MLflow's exports, and MLflow writes to the buckets that are emptied next.
    cdk.destroy(stage, [StackName.MONITORING, StackName.MLFLOW])
    _destroy_base(account, base)
    logger.info(
        "Deleted %s; its KMS keys can be restored until their waiting period ends", stage.prefix
    )


def _destroy_base(account: AwsAccount, base: Outputs) -> None:
    if bucket := base.get(StackOutput.ARTIFACT_BUCKET):
        disable_access_logging(account, bucket)
    try:
        _empty_and_destroy(account, base)
    except InfraError as error:
        logger.warning("%s; trying once more: AWS delivers logs with a delay", error)
        _empty_and_destroy(account, base)


def _empty_and_destroy(account: AwsAccount, base: Outputs) -> None:
    for output in (StackOutput.ARTIFACT_BUCKET, StackOutput.LOG_BUCKET):
        if bucket := base.get(output):
            empty_bucket(account, bucket)
    cdk.destroy(account.stage, [StackName.BASE])


def _outputs(account: AwsAccount, stack: StackName) -> Outputs:
    """Return a stack's outputs; none where it was deleted already, so that a retry continues."""
    try:
        return account.outputs(stack)
    except StackNotDeployedError:
        return {}


def _stop_bastion_tasks(account: AwsAccount) -> None:
    """Stop the bastion tasks of open port forwardings: they block the deletion of the cluster."""
    cluster = _outputs(account, StackName.MLFLOW).get(StackOutput.MLFLOW_CLUSTER)
    if not cluster:
        return
    ecs = account.client("ecs")
    with aws_errors("the bastion tasks"):
        for task in ecs.list_tasks(cluster=cluster, startedBy=BASTION_STARTED_BY)["taskArns"]:
            ecs.stop_task(cluster=cluster, task=task, reason="the stage is being deleted")


if __name__ == "__main__":
    main(command)
