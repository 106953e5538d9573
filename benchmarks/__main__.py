"""Run the benchmarks: `make bench`, or `make bench ARGS=growth` for one of them."""

from enum import StrEnum
from typing import Annotated

import typer

from benchmarks import growth, serving, synthesis, training
from scripts.console import main


class Name(StrEnum):
    """A benchmark."""

    TRAINING = "training"
    GROWTH = "growth"
    SERVING = "serving"
    SYNTHESIS = "synthesis"


def command(
    names: Annotated[list[Name] | None, typer.Argument(help="Which; all by default.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="How often each is measured.")] = 3,
    each: Annotated[
        int, typer.Option(min=1, help="Combinations a family that the naive loop trains.")
    ] = 3,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long a server is asked.")] = 3.0,
) -> None:
    """Measure, print the ratios, and write the figures as JSON to .local/bench/."""
    chosen = names or list(Name)
    if Name.TRAINING in chosen:
        training.run(repeats, each)
    if Name.GROWTH in chosen:
        growth.run()
    if Name.SERVING in chosen:
        serving.run(repeats, seconds)
    if Name.SYNTHESIS in chosen:
        synthesis.run(repeats)


if __name__ == "__main__":
    main(command)
