"""Provision a stage on AWS: `make deploy`."""

from typing import Annotated

import typer

from contract.errors import StackError
from contract.names import NO_IMAGE, Image, Output, Part, image_parameter, stack_name
from contract.settings import load
from contract.stage import Stage
from scripts import cdk, push
from scripts.account import Account, errors
from scripts.console import main, say
from scripts.cost import monthly_cost
from scripts.engine import find_engine


def command(
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    images: Annotated[bool, typer.Option(help="Build and push the tracking image.")] = True,
) -> None:
    """Deploy a stage: what stays, then the image of MLflow, then MLflow and what watches.

    It shows what it will change and what that costs a month, and asks.
    """
    stage = load().of_stage()
    account = Account(stage)
    folder = cdk.synthesise(stage)
    cdk.run(["diff", "--all", "--app", str(folder), "--method", "template"], stage)
    say(
        f"\nStage {stage.name} in account {account.number}, {stage.region}: about "
        f"{monthly_cost(stage, folder):,.0f} USD a month (make cost tells what for)"
    )
    if not yes and not typer.confirm("Deploy it?", err=True):
        say("Nothing was changed")
        return
    before = account.tracking_image()
    cdk.deploy(stage, [Part.BASE])
    if account.tracking_image() == NO_IMAGE != before:
        _tell_image(stage, account, before)  # a change of the parameter itself has reset it
    if images:
        _push_tracking_image(stage, account)
    cdk.deploy(stage, [Part.TRACKING, Part.MONITORING])
    _tell(stage, account)


def _push_tracking_image(stage: Stage, account: Account) -> None:
    """Make the image known to the tracking stack; without an engine it stays as it is."""
    try:
        engine = find_engine()
    except StackError as error:
        say(f"No image of MLflow is pushed: {error}; it runs the one that was pushed last, if any")
        return
    _tell_image(stage, account, push.push(engine, account, Image.TRACKING))


def _tell_image(stage: Stage, account: Account, digest: str) -> None:
    with errors("the image's parameter"):
        account.client("ssm").put_parameter(
            Name=image_parameter(stage), Value=digest, Type="String", Overwrite=True
        )


def _tell(stage: Stage, account: Account) -> None:
    base, tracking = account.outputs(Part.BASE), account.outputs(Part.TRACKING)
    say(f"\nDeployed  {', '.join(stack_name(stage, part) for part in Part)}")
    say(f"Artifacts s3://{base[Output.ARTIFACT_BUCKET]}")
    say(f"MLflow    {tracking[Output.TRACKING_ADDRESS]}, inside the network alone")
    say("To take it all back: make destroy")


if __name__ == "__main__":
    main(command)
