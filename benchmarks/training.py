"""The speed of `make train`, compared with the bare fits and with a naive loop."""

import json
import logging
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic, sleep

from benchmarks.measure import BenchmarkError, Usage, measure, write_settings
from benchmarks.report import print_table, save_results
from contract.paths import PROJECT_ROOT
from contract.settings.loader import load_settings
from endpoints.ports import find_free_port
from scripts.local.mlflow_server import is_server_healthy, server_command, server_environment

logger = logging.getLogger(__name__)

BARE, FIRST, TRAIN, HTTP, NAIVE = (
    "bare fits",
    "first make train",
    "make train",
    "make train over HTTP",
    "naive loop",
)
"""The first training of a store also creates its tables. All trainings run with FORCE=1."""
GOALS = {
    (TRAIN, BARE): "at most 0.6",
    (FIRST, BARE): "",
    (NAIVE, TRAIN): "at least 16",
    (HTTP, TRAIN): "at most 2",
}
"""The ratios of seconds, with their goals."""

Ratios = Mapping[tuple[str, str], list[float]]


def run(repeats: int = 3, per_family: int = 3) -> None:
    """Measure each command once per round; print the ratios and write training.json.

    Args:
        repeats: The number of rounds.
        per_family: The number of combinations per family that the naive loop trains; its total is
            extrapolated.
    """
    rounds = []
    for number in range(1, repeats + 1):
        logger.info(f"training, round {number} of {repeats}")
        rounds.append(_run_round(per_family))
    ratios = {
        pair: [usages[pair[0]].seconds / usages[pair[1]].seconds for usages in rounds]
        for pair in GOALS
    }
    file = save_results("training", _results(rounds, ratios, per_family))
    _print(rounds, ratios)
    logger.info(f"written: {file.relative_to(PROJECT_ROOT)}")


def _run_round(per_family: int) -> dict[str, Usage]:
    usages = {}
    with TemporaryDirectory() as local, TemporaryDirectory() as served:
        for name in (BARE, FIRST, TRAIN, HTTP, NAIVE):
            folder = Path(served if name == HTTP else local)
            usages[name] = _measure(name, folder, per_family)
            logger.info(f"  {name}: {usages[name].seconds:.1f} s")
    return usages


def _measure(name: str, folder: Path, per_family: int) -> Usage:
    environment = write_settings(folder)
    if name == BARE:
        return measure("benchmarks.bare_fits", **environment)
    if name == NAIVE:
        return _extrapolate(measure("benchmarks.naive_loop", str(per_family), **environment))
    if name in {FIRST, TRAIN}:
        return _require_complete(measure("scripts.train", "--json", "--force", **environment))
    with _server(folder) as uri:
        tracking = {"MLFLOW_TRACKING_URI": uri}
        return _require_complete(measure("scripts.train", "--json", **environment, **tracking))


def _require_complete(usage: Usage) -> Usage:
    tracked = len(json.loads(usage.output)["leaderboard"])
    if tracked != 78:
        raise BenchmarkError(f"{tracked} combinations were tracked, not 78")
    return usage


def _extrapolate(usage: Usage) -> Usage:
    """Extrapolate the naive loop from some combinations of each family to all of them."""
    families = json.loads(usage.output).values()
    rest = sum(
        family["seconds"] * (family["combinations"] / family["trained"] - 1) for family in families
    )
    share = usage.cpu_seconds / usage.seconds
    return Usage(
        usage.seconds + rest,
        usage.cpu_seconds + rest * share,
        usage.peak_megabytes,
        usage.output,
    )


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    """Serve a folder's tracking store as `make ui` does; yield the address."""
    port = find_free_port()
    (folder / ".local").mkdir()
    command = server_command(load_settings(folder / "settings.toml"), port)
    with subprocess.Popen(
        command,
        env=server_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            deadline = monotonic() + 60
            while not is_server_healthy(f"http://127.0.0.1:{port}"):
                if monotonic() > deadline or server.poll() is not None:
                    raise BenchmarkError("the tracking server did not start")
                sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def _results(rounds: list[dict[str, Usage]], ratios: Ratios, per_family: int) -> dict[str, object]:
    return {
        "combinations": 78,
        "naive_combinations_per_family": per_family,
        "ratios": {f"{a} / {b}": values for (a, b), values in ratios.items()},
        "rounds": [
            {name: {**asdict(usage), "output": None} for name, usage in usages.items()}
            for usages in rounds
        ],
    }


def _print(rounds: list[dict[str, Usage]], ratios: Ratios) -> None:
    def median_of(name: str, figure: str) -> float:
        return float(median(getattr(usages[name], figure) for usages in rounds))

    print_table(
        "All 78 combinations, whole processes; median of the rounds",
        ("", "seconds", "CPU seconds", "peak MB"),
        [
            (
                name,
                f"{median_of(name, 'seconds'):.1f}",
                f"{median_of(name, 'cpu_seconds'):.1f}",
                f"{median_of(name, 'peak_megabytes'):,.0f}",
            )
            for name in rounds[0]
        ],
    )
    print_table(
        "Ratios of seconds within a round",
        ("", "median", "lowest", "highest", "goal"),
        [
            (
                f"{a} / {b}",
                *(f"{figure:.2f}" for figure in (median(values), min(values), max(values))),
                GOALS[a, b],
            )
            for (a, b), values in ratios.items()
        ],
    )
