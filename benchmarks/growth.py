"""The growth of time and memory with a table's rows and columns."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from benchmarks.measure import Usage, measure, write_settings
from benchmarks.report import FOLDER, print_table, save_results
from contract.paths import PROJECT_ROOT
from contract.settings.loader import Settings, load_settings

logger = logging.getLogger(__name__)

ROW_FACTORS = (1, 10, 100)
COLUMN_FACTORS = (1, 10, 50)
NOISE = 0.05
"""The standard deviation of the noise, relative to each number."""
GRID = """
[grids.xgboost]
n_estimators = [50, 100]
learning_rate = [0.1]
max_depth = [3, 6]
subsample = [0.8, 1.0]
"""
"""A smaller grid of trees, together with the whole grids of the linear families."""

Points = dict[int, Usage]
"""The measurements by the number of rows or columns."""


def run() -> None:
    """Train on longer and on wider tables; print the figures; write growth.json and growth.svg."""
    settings = load_settings(PROJECT_ROOT / "settings.toml")
    table = read_table(settings)
    rows = {
        len(table) * factor: _train(repeat_rows(table, factor, settings), settings)
        for factor in ROW_FACTORS
    }
    n_columns = len(feature_columns(table, settings))
    columns = {
        n_columns * factor: _train(repeat_columns(table, factor, settings), settings)
        for factor in COLUMN_FACTORS
    }
    results = {"rows": rows, "columns": columns}
    file = save_results(
        "growth",
        {
            name: {str(size): {**asdict(usage), "output": None} for size, usage in points.items()}
            for name, points in results.items()
        },
    )
    for name, points in results.items():
        _print(name, points)
    figure = FOLDER / "growth.svg"
    _plot(results, figure)
    logger.info(f"written: {file.relative_to(PROJECT_ROOT)}, {figure.relative_to(PROJECT_ROOT)}")


def read_table(settings: Settings) -> pd.DataFrame:
    """Read the training table that the settings name."""
    markers = list(settings.data.missing_values)
    return pd.read_csv(
        settings.resolve_path(settings.data.train), keep_default_na=False, na_values=markers
    )


def feature_columns(table: pd.DataFrame, settings: Settings) -> list[str]:
    """Return the columns of a table without the label and the id."""
    others = {settings.data.label, settings.data.id}
    return [str(name) for name in table if name not in others]


def repeat_rows(table: pd.DataFrame, factor: int, settings: Settings) -> pd.DataFrame:
    """Repeat the rows, each copy with noise on its numbers."""
    random = np.random.default_rng(settings.data.seed)
    copies = [table] + [_with_noise(table, settings, random) for _ in range(factor - 1)]
    whole = pd.concat(copies, ignore_index=True)
    whole[settings.data.id] = np.arange(1, len(whole) + 1)
    return whole


def repeat_columns(table: pd.DataFrame, factor: int, settings: Settings) -> pd.DataFrame:
    """Repeat the columns under other names, each copy with noise and in another order of rows."""
    random = np.random.default_rng(settings.data.seed)
    copies = [table]
    for number in range(2, factor + 1):
        order = random.permutation(len(table))
        copy = _with_noise(table, settings, random)[feature_columns(table, settings)].iloc[order]
        copies.append(copy.reset_index(drop=True).add_suffix(f"_{number}"))
    return pd.concat(copies, axis=1)


def _with_noise(
    table: pd.DataFrame, settings: Settings, random: np.random.Generator
) -> pd.DataFrame:
    copy = table.copy()
    for name in table.select_dtypes("number"):
        if name not in {settings.data.id, *settings.data.categorical}:
            noisy = table[name] * (1 + NOISE * random.standard_normal(len(table)))
            copy[name] = noisy.round().astype(table[name].dtype)
    return copy


def _train(table: pd.DataFrame, settings: Settings) -> Usage:
    """Measure `make train` on a table."""
    logger.info(f"growth: {len(table):,} rows, {len(feature_columns(table, settings)):,} columns")
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        table.to_csv(folder / "train.csv", index=False, na_rep="NA")
        environment = write_settings(folder, GRID) | table_environment(table, settings)
        environment["STACK_DATA__TRAIN"] = str(folder / "train.csv")
        usage = measure("scripts.train", "--json", **environment)
    logger.info(f"  {usage.seconds:.1f} s, {usage.peak_megabytes:,.0f} MB")
    return usage


def table_environment(table: pd.DataFrame, settings: Settings) -> dict[str, str]:
    """Return the variables with which a repeated table is trained on, without test rows."""
    data = settings.data
    return {
        "STACK_DATA__TEST": "",
        "STACK_DATA__TEST_LABELS": "",
        "STACK_DATA__CATEGORICAL": _with_copies(data.categorical, table),
        "STACK_DATA__MISSING_AS_CATEGORY": _with_copies(data.missing_as_category, table),
    }


def _with_copies(names: Sequence[str], table: pd.DataFrame) -> str:
    """Return the columns with these names and their copies, as a JSON list."""
    return json.dumps([name for name in map(str, table) if name.split("_")[0] in names])


def _print(name: str, points: Points) -> None:
    rows = []
    previous: tuple[int, Usage] | None = None
    for size, usage in points.items():
        growth = ("", "", "")
        if previous:
            previous_size, previous_usage = previous
            growth = (
                f"x {size / previous_size:.0f}",
                f"x {usage.seconds / previous_usage.seconds:.1f}",
                f"x {usage.peak_megabytes / previous_usage.peak_megabytes:.1f}",
            )
        seconds, peak = f"{usage.seconds:.1f}", f"{usage.peak_megabytes:,.0f}"
        rows.append((f"{size:,}", seconds, peak, *growth))
        previous = size, usage
    print_table(
        f"Growth with the {name}",
        (name, "seconds", "peak MB", f"growth of {name}", "of seconds", "of MB"),
        rows,
    )


def _plot(results: dict[str, Points], file: Path) -> None:
    """Plot time and memory over rows and columns, beside lines of proportional growth."""
    import matplotlib as mpl  # noqa: PLC0415 - takes a second to load

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "growth"  # the same figures produce the same file
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, panels = plt.subplots(2, 2, figsize=(8, 6), layout="constrained", sharex="col")
    for (name, points), (upper, lower) in zip(results.items(), panels.T, strict=True):
        for panel, label, values in (
            (upper, "seconds", [point.seconds for point in points.values()]),
            (lower, "peak memory in MB", [point.peak_megabytes for point in points.values()]),
        ):
            sizes = list(points)
            panel.loglog(sizes, values, "o-", label="measured")
            proportional = [values[0] * size / sizes[0] for size in sizes]
            panel.loglog(sizes, proportional, ":", color="gray", label=f"proportional to {name}")
            panel.set_ylabel(label)
            panel.grid(alpha=0.3)
        lower.set_xlabel(name)
        upper.legend()
    figure.savefig(file, metadata={"Date": None})
