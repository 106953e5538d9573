"""Command-line arguments and options that several commands share."""

from typing import Annotated

import typer

from contract.names import Image
from endpoints.target import TargetName

ImagesArgument = Annotated[
    list[Image] | None, typer.Argument(help="The images to build; by default all.")
]
FamiliesOption = Annotated[
    str, typer.Option("--families", help="Train only these families, separated by commas.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
TargetOption = Annotated[TargetName, typer.Option("--target", help="Where to act.")]
StageOption = Annotated[
    str, typer.Option("--stage", help="The stage on AWS; by default the one in the settings.")
]
YesOption = Annotated[bool, typer.Option("--yes", help="Don't ask for confirmation.")]
