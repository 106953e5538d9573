"""Command-line options that several commands share."""

from typing import Annotated

import typer

from endpoints.target import TargetName

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
TargetOption = Annotated[TargetName, typer.Option("--target", help="Where to act.")]
StageOption = Annotated[
    str, typer.Option("--stage", help="The stage, with --target aws; by default the settings'.")
]
