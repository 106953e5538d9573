"""Take a stage back: `make destroy`."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer
from botocore.exceptions import ClientError

from contract.errors import InfraError
from contract.names import REPOSITORIES, Output, Part, stack_name
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
    base = _outputs(account)
    # What watches and what runs go first: they would write into what is emptied.
    _destroy(account, Part.MONITORING, Part.TRACKING)
    for output in (Output.ARTIFACT_BUCKET, Output.LOG_BUCKET):
        if output in base:
            _empty_bucket(account, base[output])
    for output in REPOSITORIES.values():
        if output in base:
            _empty_repository(account, base[output].partition("/")[2])
    _destroy(account, Part.BASE)
    say(f"Deleted {stage.prefix}; its keys can be had back for some days, then they are gone too")


def _outputs(account: Account) -> dict[Output, str]:
    """Return what the base tells; nothing where it is gone, so that a second call goes on."""
    try:
        return account.outputs(Part.BASE)
    except InfraError as error:
        if "isn't deployed" not in str(error):
            raise
        return {}


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


def _empty_repository(account: Account, name: str) -> None:
    ecr = account.client("ecr")
    with errors(name):
        for page in ecr.get_paginator("list_images").paginate(repositoryName=name):
            if page["imageIds"]:
                ecr.batch_delete_image(repositoryName=name, imageIds=page["imageIds"])
    say(f"Emptied {name}")


if __name__ == "__main__":
    main(command)
