"""Copy a release from one stage to another: `make copy-release`."""

from typing import Annotated

import typer

from aws.account import AwsAccount
from contract.errors import SettingsError
from contract.settings.loader import load_settings
from scripts.aws.release_copy import copy_release
from scripts.console import main


def command(
    from_stage: Annotated[str, typer.Option("--from", help="The stage that has the release.")],
    to_stage: Annotated[str, typer.Option("--to", help="The stage to copy it to.")],
    version: Annotated[
        str, typer.Option(help="The version; by default the champion of the first stage.")
    ] = "",
    from_profile: Annotated[
        str, typer.Option(help="The AWS profile for the first stage, if it needs another one.")
    ] = "",
    to_profile: Annotated[str, typer.Option(help="The AWS profile for the second stage.")] = "",
) -> None:
    """Copy a release, and the images that it names, from one stage to another."""
    if from_stage == to_stage:
        raise SettingsError(f"FROM and TO are the same stage, {from_stage}")
    settings = load_settings()
    source, target = settings.get_stage(from_stage), settings.get_stage(to_stage)
    copied = copy_release(
        AwsAccount(source, from_profile),
        AwsAccount(target, to_profile),
        settings.release.model,
        version,
    )
    manifest = copied.manifest
    name = f"{manifest.model} version {manifest.version} (sha256 {copied.digest[:12]})"
    print(f"{'Copied' if copied.changed else 'Already in ' + target.name}: {name}")
    print(f"Stored in {copied.store}/{manifest.model}/{manifest.version}")
    champion = "is" if copied.is_champion else "is not"
    print(f"It {champion} the champion of {target.name}")


if __name__ == "__main__":
    main(command)
