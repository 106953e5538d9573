"""How time and memory grow with a table's rows and columns."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from benchmarks.measure import Usage, measure, settings_in
from benchmarks.report import FOLDER, save, show
from contract.paths import PROJECT_ROOT
from contract.settings.loader import Settings, load_settings

logger = logging.getLogger(__name__)

TIMES_LONGER = (1, 10, 100)
TIMES_WIDER = (1, 10, 50)
NOISE = 0.05
GRID = """
[grids.xgboost]
n_estimators = [50, 100]
learning_rate = [0.1]
max_depth = [3, 6]
subsample = [0.8, 1.0]
"""
"""A smaller grid of trees, with the linear ones whole: what counts here is how they grow."""

Points = dict[int, Usage]
"""What was measured, by the number of rows or columns."""


def run() -> None:
    """Train on longer and on wider tables; print the figures, write growth.json and growth.svg."""
    settings = load_settings(PROJECT_ROOT / "settings.toml")
    table = _read(settings)
    rows = {
        len(table) * times: _train(longer(table, times, settings), settings)
        for times in TIMES_LONGER
    }
    columns = {
        len(_inputs(table, settings)) * times: _train(wider(table, times, settings), settings)
        for times in TIMES_WIDER
    }
    found = {"rows": rows, "columns": columns}
    file = save(
        "growth",
        {
            name: {str(size): {**asdict(usage), "output": None} for size, usage in points.items()}
            for name, points in found.items()
        },
    )
    for name, points in found.items():
        _show(name, points)
    figure = FOLDER / "growth.svg"
    _draw(found, figure)
    logger.info(f"written: {file.relative_to(PROJECT_ROOT)}, {figure.relative_to(PROJECT_ROOT)}")


def _read(settings: Settings) -> pd.DataFrame:
    markers = list(settings.data.missing_values)
    return pd.read_csv(
        settings.resolve_path(settings.data.train), keep_default_na=False, na_values=markers
    )


def _inputs(table: pd.DataFrame, settings: Settings) -> list[str]:
    others = {settings.data.label, settings.data.id}
    return [str(name) for name in table if name not in others]


def longer(table: pd.DataFrame, times: int, settings: Settings) -> pd.DataFrame:
    """Repeat the rows, each time with noise on the numbers."""
    random = np.random.default_rng(settings.data.seed)
    copies = [table] + [_shaken(table, settings, random) for _ in range(times - 1)]
    whole = pd.concat(copies, ignore_index=True)
    whole[settings.data.id] = np.arange(1, len(whole) + 1)
    return whole


def wider(table: pd.DataFrame, times: int, settings: Settings) -> pd.DataFrame:
    """Repeat the columns under other names, each time with noise and in other rows."""
    random = np.random.default_rng(settings.data.seed)
    copies = [table]
    for number in range(2, times + 1):
        order = random.permutation(len(table))
        copy = _shaken(table, settings, random)[_inputs(table, settings)].iloc[order]
        copies.append(copy.reset_index(drop=True).add_suffix(f"_{number}"))
    return pd.concat(copies, axis=1)


def _shaken(table: pd.DataFrame, settings: Settings, random: np.random.Generator) -> pd.DataFrame:
    copy = table.copy()
    for name in table.select_dtypes("number"):
        if name not in {settings.data.id, *settings.data.categorical}:
            noisy = table[name] * (1 + NOISE * random.standard_normal(len(table)))
            copy[name] = noisy.round().astype(table[name].dtype)
    return copy


def _train(table: pd.DataFrame, settings: Settings) -> Usage:
    """Train on a table in a process of its own."""
    logger.info(f"growth: {len(table):,} rows, {len(_inputs(table, settings)):,} columns")
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        table.to_csv(folder / "train.csv", index=False, na_rep="NA")
        environment = settings_in(folder, GRID) | {
            "STACK_DATA__TRAIN": str(folder / "train.csv"),
            "STACK_DATA__TEST": "",
            "STACK_DATA__TEST_LABELS": "",
            "STACK_DATA__CATEGORICAL": _all_named(settings.data.categorical, table),
            "STACK_DATA__MISSING_AS_CATEGORY": _all_named(settings.data.missing_as_category, table),
        }
        usage = measure("scripts.train", "--json", **environment)
    logger.info(f"  {usage.seconds:.1f} s, {usage.peak_megabytes:,.0f} MB")
    return usage


def _all_named(names: Sequence[str], table: pd.DataFrame) -> str:
    """Return the columns of these names and their copies, as an environment variable has them."""
    return json.dumps([name for name in map(str, table) if name.split("_")[0] in names])


def _show(name: str, points: Points) -> None:
    lines = []
    before: tuple[int, Usage] | None = None
    for size, usage in points.items():
        grown = ("", "", "")
        if before:
            size_before, usage_before = before
            grown = (
                f"x {size / size_before:.0f}",
                f"x {usage.seconds / usage_before.seconds:.1f}",
                f"x {usage.peak_megabytes / usage_before.peak_megabytes:.1f}",
            )
        seconds, peak = f"{usage.seconds:.1f}", f"{usage.peak_megabytes:,.0f}"
        lines.append((f"{size:,}", seconds, peak, *grown))
        before = size, usage
    show(
        f"Growth with the {name}",
        (name, "seconds", "peak MB", f"{name} grew", "seconds grew", "MB grew"),
        lines,
    )


def _draw(found: dict[str, Points], file: Path) -> None:
    """Draw time and memory over rows and columns, beside lines that grow as these do."""
    import matplotlib as mpl  # noqa: PLC0415 - takes a second, and is of use here alone

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "growth"  # the same figures give the same file
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, panels = plt.subplots(2, 2, figsize=(8, 6), layout="constrained", sharex="col")
    for (name, points), (above, below) in zip(found.items(), panels.T, strict=True):
        for panel, label, values in (
            (above, "seconds", [one.seconds for one in points.values()]),
            (below, "peak memory in MB", [one.peak_megabytes for one in points.values()]),
        ):
            sizes = list(points)
            panel.loglog(sizes, values, "o-", label="measured")
            proportional = [values[0] * size / sizes[0] for size in sizes]
            panel.loglog(sizes, proportional, ":", color="gray", label=f"as fast as the {name}")
            panel.set_ylabel(label)
            panel.grid(alpha=0.3)
        below.set_xlabel(name)
        above.legend()
    figure.savefig(file, metadata={"Date": None})
