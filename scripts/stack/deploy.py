"""Provision a stage on AWS: `make deploy`."""

import logging
from typing import Annotated

import typer

from aws.account import AwsAccount
from aws.images import record_image
from aws.instance_types import check_instance_type
from contract.names import NO_IMAGE, Image, StackName, StackOutput, stack_name
from contract.settings.loader import load_settings
from endpoints.container_engine import NoContainerEngineError
from scripts.aws import cdk
from scripts.aws.ecr import build_and_push
from scripts.aws.stage_cost import monthly_cost
from scripts.console import main
from scripts.options import YesOption

logger = logging.getLogger(__name__)


def command(
    yes: YesOption = False,
    images: Annotated[bool, typer.Option(help="Build and push MLflow's image.")] = True,
) -> None:
    """Deploy a stage: the base stack, MLflow's image, then the MLflow and monitoring stacks.

    The command first shows the changes and the monthly cost, and asks for confirmation.
    """
    stage = load_settings().get_stage()
    for image in Image:
        check_instance_type(stage, image)
    account = AwsAccount(stage)
    assembly = cdk.synthesize(stage)
    cdk.diff(stage)
    logger.info(
        "\nStage %s in account %s, %s: about %s USD per month (make cost lists the items)",
        stage.name,
        account.account_id,
        stage.region,
        f"{monthly_cost(stage, assembly):,.0f}",
    )
    if not yes and not typer.confirm("Deploy these changes?", err=True):
        logger.info("Nothing was changed")
        return
    _deploy_base(account)
    if images:
        _push_mlflow_image(account)
    cdk.deploy(stage, [StackName.MLFLOW, StackName.MONITORING])
    _print_summary(account)


def _deploy_base(account: AwsAccount) -> None:
    """Deploy the base stack; keep the digests of the images in their parameters.

    CloudFormation resets a parameter to NO_IMAGE when its definition changes.
    """
    digests = {image: account.image_digest(image) for image in Image}
    cdk.deploy(account.stage, [StackName.BASE])
    for image, digest in digests.items():
        if account.image_digest(image) == NO_IMAGE != digest:
            account.put_image_digest(image, digest)


def _push_mlflow_image(account: AwsAccount) -> None:
    """Push MLflow's image for the MLflow stack; without a container engine, skip it."""
    try:
        uri = build_and_push(account, Image.MLFLOW)
    except NoContainerEngineError as error:
        logger.warning("%s; MLflow's image is not pushed, and the previous one stays", error)
    else:
        record_image(account, Image.MLFLOW, uri.partition("@")[2])


def _print_summary(account: AwsAccount) -> None:
    base, mlflow = account.outputs(StackName.BASE), account.outputs(StackName.MLFLOW)
    stacks = ", ".join(stack_name(account.stage, stack) for stack in StackName)
    lines = [
        ("Deployed", stacks),
        ("Artifacts", f"s3://{base[StackOutput.ARTIFACT_BUCKET]}"),
        ("MLflow", f"{mlflow[StackOutput.MLFLOW_URI]} inside the VPC; make ui TARGET=aws opens it"),
        ("To remove", "make destroy"),
    ]
    print()
    for name, text in lines:
        print(f"{name:<11}{text}")


if __name__ == "__main__":
    main(command)
