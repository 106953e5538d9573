"""Provision a stage on AWS: `make deploy`."""

import logging
from typing import Annotated

import typer

from contract.errors import StackError
from contract.names import (
    NO_IMAGE,
    Image,
    StackName,
    StackOutput,
    image_digest_parameter,
    stack_name,
)
from contract.settings.loader import load_settings
from contract.settings.stage import Stage
from endpoints.container_engine import find_engine
from scripts import build_and_push
from scripts.aws import cdk
from scripts.aws.account import Account, errors
from scripts.console import main
from scripts.stack.cost import monthly_cost

logger = logging.getLogger(__name__)


def command(
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    images: Annotated[bool, typer.Option(help="Build and push the tracking image.")] = True,
) -> None:
    """Deploy a stage: what stays, then the image of MLflow, then MLflow and what watches.

    It shows what it will change and what that costs a month, and asks.
    """
    stage = load_settings().get_stage()
    account = Account(stage)
    folder = cdk.synthesise(stage)
    cdk.run(["diff", "--all", "--app", str(folder), "--method", "template"], stage)
    logger.info(
        f"\nStage {stage.name} in account {account.number}, {stage.region}: about "
        f"{monthly_cost(stage, folder):,.0f} USD a month (make cost tells what for)"
    )
    if not yes and not typer.confirm("Deploy it?", err=True):
        logger.info("Nothing was changed")
        return
    before = account.tracking_image()
    cdk.deploy(stage, [StackName.BASE])
    if account.tracking_image() == NO_IMAGE != before:
        _tell_image(stage, account, before)  # a change of the parameter itself has reset it
    if images:
        _push_tracking_image(stage, account)
    cdk.deploy(stage, [StackName.MLFLOW, StackName.MONITORING])
    _tell(stage, account)


def _push_tracking_image(stage: Stage, account: Account) -> None:
    """Make the image known to the tracking stack; without an engine it stays as it is."""
    try:
        engine = find_engine()
    except StackError as error:
        logger.info(
            f"No image of MLflow is pushed: {error}; it runs the one that was pushed last, if any"
        )
        return
    _tell_image(stage, account, build_and_push.push(engine, account, Image.MLFLOW))


def _tell_image(stage: Stage, account: Account, digest: str) -> None:
    with errors("the image's parameter"):
        account.client("ssm").put_parameter(
            Name=image_digest_parameter(stage), Value=digest, Type="String", Overwrite=True
        )


def _tell(stage: Stage, account: Account) -> None:
    base, tracking = account.outputs(StackName.BASE), account.outputs(StackName.MLFLOW)
    logger.info(f"\nDeployed  {', '.join(stack_name(stage, part) for part in StackName)}")
    logger.info(f"Artifacts s3://{base[StackOutput.ARTIFACT_BUCKET]}")
    logger.info(f"MLflow    {tracking[StackOutput.MLFLOW_URI]}, inside the network alone")
    logger.info("To take it all back: make destroy")


if __name__ == "__main__":
    main(command)
