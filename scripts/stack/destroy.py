"""Take a stage back: `make destroy`."""

import logging
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from botocore.exceptions import ClientError

from contract.errors import InfraError
from contract.names import BASTION_STARTED_BY, StackName, StackOutput, stack_name
from contract.settings.loader import load_settings
from scripts.aws import cdk
from scripts.aws.account import Account, errors
from scripts.console import main

logger = logging.getLogger(__name__)

AT_ONCE = 1000
"""Objects that S3 deletes by one call."""


def command(
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask for the stage's name.")] = False,
) -> None:
    """Delete a stage's stacks and all that they keep: releases, runs, images and their logs.

    A production stage is refused: its stacks are protected, and its data is to stay.
    """
    stage = load_settings().get_stage()
    account = Account(stage)
    if stage.production:
        raise InfraError(
            f"{stage.name} is a production stage: its stacks are protected and its data stays; "
            "docs/operations.md tells how one is taken down by hand"
        )
    logger.info(
        f"This deletes {stage.prefix} in account {account.number}, {stage.region}, with all data"
    )
    if not yes and typer.prompt("Type the stage's name to go on", err=True) != stage.name:
        logger.info("Nothing was deleted")
        return
    cdk.synthesise(stage)
    _stop_forwarding(account)
    base = _outputs(account, StackName.BASE)
    # What watches and what runs go first: they would write into what is emptied.
    _destroy(account, StackName.MONITORING, StackName.MLFLOW)
    _take_base_back(account, base)
    logger.info(
        f"Deleted {stage.prefix}; its keys can be had back for some days, then they are gone too"
    )


def _take_base_back(account: Account, base: dict[StackOutput, str]) -> None:
    if StackOutput.ARTIFACT_BUCKET in base:
        with errors(base[StackOutput.ARTIFACT_BUCKET]):
            _stop_logging(account, base[StackOutput.ARTIFACT_BUCKET])
    try:
        _empty_and_destroy(account, base)
    except InfraError:
        logger.info("Once more: AWS delivers logs some time after what they tell of")
        _empty_and_destroy(account, base)


def _outputs(account: Account, part: StackName) -> dict[StackOutput, str]:
    """Return what a stack tells; nothing where it is gone, so that a second call goes on."""
    try:
        return account.outputs(part)
    except InfraError as error:
        if "isn't deployed" not in str(error):
            raise
        return {}


def _stop_forwarding(account: Account) -> None:
    """Stop what somebody may still look at MLflow through: its cluster can't go before."""
    tracking = _outputs(account, StackName.MLFLOW)
    if cluster := tracking.get(StackOutput.MLFLOW_CLUSTER):
        ecs = account.client("ecs")
        with errors("the forwarding task"):
            for task in ecs.list_tasks(cluster=cluster, startedBy=BASTION_STARTED_BY)["taskArns"]:
                ecs.stop_task(cluster=cluster, task=task, reason="the stage is taken back")


def _stop_logging(account: Account, bucket: str) -> None:
    """Let the emptying of the bucket not be logged itself."""
    s3 = account.client("s3")
    try:
        s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={})
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchBucket":
            raise


def _empty_and_destroy(account: Account, base: dict[StackOutput, str]) -> None:
    for output in (StackOutput.ARTIFACT_BUCKET, StackOutput.LOG_BUCKET):
        if output in base:
            _empty_bucket(account, base[output])
    _destroy(account, StackName.BASE)


def _destroy(account: Account, *parts: StackName) -> None:
    names = [stack_name(account.stage, part) for part in parts]
    options = ["--force", "--exclusively", "--app", str(cdk.ASSEMBLY)]
    cdk.run(["destroy", *names, *options], account.stage)


def _empty_bucket(account: Account, name: str) -> None:
    s3, deleted = account.client("s3"), 0
    with errors(name):
        try:
            for some in _chunks(_versions(s3, name)):
                answer = s3.delete_objects(Bucket=name, Delete={"Objects": some, "Quiet": True})
                if failed := answer.get("Errors"):
                    raise InfraError(f"{name}: {failed[0]['Key']}: {failed[0]['Message']}")
                deleted += len(some)
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchBucket":
                raise
    logger.info(f"Emptied {name} ({deleted} versions of objects)")


def _versions(s3: Any, name: str) -> Iterator[dict[str, str]]:  # noqa: ANN401 - boto3's
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=name):
        for one in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
            yield {"Key": one["Key"], "VersionId": one["VersionId"]}


def _chunks(found: Iterator[dict[str, str]]) -> Iterator[list[dict[str, str]]]:
    some: list[dict[str, str]] = []
    for one in found:
        some.append(one)
        if len(some) == AT_ONCE:
            yield some
            some = []
    if some:
        yield some


if __name__ == "__main__":
    main(command)
