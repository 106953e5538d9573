"""Run the benchmarks: `make bench`, or `make bench ARGS=growth` for one of them."""

from enum import StrEnum
from typing import Annotated

import typer

from benchmarks import growth, memory, serving, synthesis, training
from scripts.console import main


class Benchmark(StrEnum):
    """A benchmark."""

    TRAINING = "training"
    GROWTH = "growth"
    MEMORY = "memory"
    SERVING = "serving"
    SYNTHESIS = "synthesis"


def command(
    names: Annotated[
        list[Benchmark] | None, typer.Argument(help="The benchmarks to run; all by default.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="The number of rounds.")] = 3,
    per_family: Annotated[
        int, typer.Option(min=1, help="Combinations per family that the naive loop trains.")
    ] = 3,
    seconds: Annotated[float, typer.Option(min=0.1, help="The duration of each load.")] = 3.0,
) -> None:
    """Run the benchmarks, print the ratios, and write the figures as JSON to .local/bench/."""
    selected = names or list(Benchmark)
    if Benchmark.TRAINING in selected:
        training.run(repeats, per_family)
    if Benchmark.GROWTH in selected:
        growth.run()
    if Benchmark.MEMORY in selected:
        memory.run()
    if Benchmark.SERVING in selected:
        serving.run(repeats, seconds)
    if Benchmark.SYNTHESIS in selected:
        synthesis.run(repeats)


if __name__ == "__main__":
    main(command)
