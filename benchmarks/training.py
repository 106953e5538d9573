"""The speed of a training, in comparison with the bare fits and with the loop one writes first."""

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

from benchmarks.measure import BenchmarkError, Usage, measure, settings_in
from benchmarks.report import save, show
from contract.paths import PROJECT_ROOT
from contract.settings.loader import load_settings
from endpoints.ports import find_free_port
from scripts.local.mlflow_server import is_server_healthy, server_command, server_environment

logger = logging.getLogger(__name__)

BARE, FIRST, OURS, HTTP, NAIVE = (
    "bare fits",
    "make train, the first",
    "make train",
    "make train over HTTP",
    "naive loop",
)
"""The first training makes the store's tables; each later one, FORCE=1 here, finds them."""
GOALS = {
    (OURS, BARE): "at most 0.6",
    (FIRST, BARE): "",
    (NAIVE, OURS): "at least 16",
    (HTTP, OURS): "at most 2",
}
"""What is compared with what, and what is aimed at."""

Ratios = Mapping[tuple[str, str], list[float]]


def run(repeats: int = 3, each: int = 3) -> None:
    """Measure all of them in turn, several times; print the ratios and write training.json.

    Args:
        repeats: How often.
        each: How many combinations of a family the naive loop trains; the rest is estimated.
    """
    rounds = []
    for number in range(1, repeats + 1):
        logger.info(f"training, round {number} of {repeats}")
        rounds.append(_round(each))
    ratios = {
        pair: [one[pair[0]].seconds / one[pair[1]].seconds for one in rounds] for pair in GOALS
    }
    file = save("training", _findings(rounds, ratios, each))
    _show(rounds, ratios)
    logger.info(f"written: {file.relative_to(PROJECT_ROOT)}")


def _round(each: int) -> dict[str, Usage]:
    found = {}
    with TemporaryDirectory() as own, TemporaryDirectory() as served:
        for name in (BARE, FIRST, OURS, HTTP, NAIVE):
            folder = Path(served if name == HTTP else own)
            found[name] = _measure(name, folder, each)
            logger.info(f"  {name}: {found[name].seconds:.1f} s")
    return found


def _measure(name: str, folder: Path, each: int) -> Usage:
    environment = settings_in(folder)
    if name == BARE:
        return measure("benchmarks.bare", **environment)
    if name == NAIVE:
        return _whole(measure("benchmarks.naive", str(each), **environment))
    if name in {FIRST, OURS}:
        return _complete(measure("scripts.train", "--json", "--force", **environment))
    with _server(folder) as uri:
        store = {"MLFLOW_TRACKING_URI": uri}
        return _complete(measure("scripts.train", "--json", **environment, **store))


def _complete(usage: Usage) -> Usage:
    tracked = len(json.loads(usage.output)["leaderboard"])
    if tracked != 78:
        raise BenchmarkError(f"{tracked} combinations were tracked, not 78")
    return usage


def _whole(usage: Usage) -> Usage:
    """Estimate what the naive loop takes for all, from how long each family took for some."""
    families = json.loads(usage.output).values()
    rest = sum(one["seconds"] * (one["of"] / one["trained"] - 1) for one in families)
    share = usage.cpu_seconds / usage.seconds
    return Usage(
        usage.seconds + rest,
        usage.cpu_seconds + rest * share,
        usage.peak_megabytes,
        usage.output,
    )


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    """Serve a folder's store as `make ui` does; yield the address."""
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
                    raise BenchmarkError("no tracking server came up")
                sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def _findings(rounds: list[dict[str, Usage]], ratios: Ratios, each: int) -> dict[str, object]:
    return {
        "combinations": 78,
        "naive_trained_of_each_family": each,
        "ratios": {f"{a} / {b}": found for (a, b), found in ratios.items()},
        "rounds": [
            {name: {**asdict(usage), "output": None} for name, usage in one.items()}
            for one in rounds
        ],
    }


def _show(rounds: list[dict[str, Usage]], ratios: Ratios) -> None:
    def middle(name: str, figure: str) -> float:
        return float(median(getattr(one[name], figure) for one in rounds))

    show(
        "All 78 combinations, whole processes; the middle of the rounds",
        ("", "seconds", "processor seconds", "peak MB"),
        [
            (
                name,
                f"{middle(name, 'seconds'):.1f}",
                f"{middle(name, 'cpu_seconds'):.1f}",
                f"{middle(name, 'peak_megabytes'):,.0f}",
            )
            for name in rounds[0]
        ],
    )
    show(
        "Ratios of the seconds, each of one round",
        ("", "middle", "lowest", "highest", "aimed at"),
        [
            (
                f"{a} / {b}",
                *(f"{figure:.2f}" for figure in (median(found), min(found), max(found))),
                GOALS[a, b],
            )
            for (a, b), found in ratios.items()
        ],
    )
