"""Take a stage back: `make destroy`."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer
from botocore.exceptions import ClientError

from contract.errors import InfraError
from contract.names import STARTED_BY, Output, Part, stack_name
from contract.settings import load
from scripts import cdk
from scripts.account import Account, errors
from scripts.console import main, say

AT_ONCE = 1000
"""Objects that S3 deletes by one call."""


def command(
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask for the stage's name.")] = False,
) -> None:
    """Delete a stage's stacks and all that they keep: releases, runs, images and their logs.

    A production stage is refused: its stacks are protected, and its data is to stay.
    """
    stage = load().of_stage()
    account = Account(stage)
    if stage.production:
        raise InfraError(
            f"{stage.name} is a production stage: its stacks are protected and its data stays; "
            "docs/operations.md tells how one is taken down by hand"
        )
    say(f"This deletes {stage.prefix} in account {account.number}, {stage.region}, with all data")
    if not yes and typer.prompt("Type the stage's name to go on", err=True) != stage.name:
        say("Nothing was deleted")
        return
    cdk.synthesise(stage)
    _stop_forwarding(account)
    base = _outputs(account, Part.BASE)
    # What watches and what runs go first: they would write into what is emptied.
    _destroy(account, Part.MONITORING, Part.TRACKING)
    _take_base_back(account, base)
    say(f"Deleted {stage.prefix}; its keys can be had back for some days, then they are gone too")


def _take_base_back(account: Account, base: dict[Output, str]) -> None:
    if Output.ARTIFACT_BUCKET in base:
        with errors(base[Output.ARTIFACT_BUCKET]):
            _stop_logging(account, base[Output.ARTIFACT_BUCKET])
    try:
        _empty_and_destroy(account, base)
    except InfraError:
        say("Once more: AWS delivers logs some time after what they tell of")
        _empty_and_destroy(account, base)


def _outputs(account: Account, part: Part) -> dict[Output, str]:
    """Return what a stack tells; nothing where it is gone, so that a second call goes on."""
    try:
        return account.outputs(part)
    except InfraError as error:
        if "isn't deployed" not in str(error):
            raise
        return {}


def _stop_forwarding(account: Account) -> None:
    """Stop what somebody may still look at MLflow through: its cluster can't go before."""
    tracking = _outputs(account, Part.TRACKING)
    if cluster := tracking.get(Output.TRACKING_CLUSTER):
        ecs = account.client("ecs")
        with errors("the forwarding task"):
            for task in ecs.list_tasks(cluster=cluster, startedBy=STARTED_BY)["taskArns"]:
                ecs.stop_task(cluster=cluster, task=task, reason="the stage is taken back")


def _stop_logging(account: Account, bucket: str) -> None:
    """Let the emptying of the bucket not be logged itself."""
    s3 = account.client("s3")
    try:
        s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={})
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchBucket":
            raise


def _empty_and_destroy(account: Account, base: dict[Output, str]) -> None:
    for output in (Output.ARTIFACT_BUCKET, Output.LOG_BUCKET):
        if output in base:
            _empty_bucket(account, base[output])
    _destroy(account, Part.BASE)


def _destroy(account: Account, *parts: Part) -> None:
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
    say(f"Emptied {name} ({deleted} versions of objects)")


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
