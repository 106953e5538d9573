"""The memory of a training job over the rows and columns of its table, and over the CPUs.

The job's entry point is measured, as SageMaker runs it: it trains and releases in one process. The
fitted figures are the constants of endpoints/sagemaker/sizing.py, which chooses instance types.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from benchmarks.growth import (
    read_table,
    repeat_columns,
    repeat_rows,
    table_environment,
)
from benchmarks.measure import measure, write_settings
from benchmarks.report import print_table, save_results
from contract.paths import PROJECT_ROOT
from contract.settings.loader import Settings, load_settings
from contract.training_job import Channel

logger = logging.getLogger(__name__)

POINTS = (
    (1, 1, 2),
    (100, 1, 2),
    (100, 1, 18),
    (1, 10, 2),
    (3, 10, 2),
    (10, 10, 2),
    (10, 10, 18),
    (1, 50, 2),
)
"""How often the rows and the columns of the Ames table are repeated, and the CPUs.

18 is the number of boosters of the default grid, each of which is fitted on a CPU of its own; this
machine may have fewer. With three times the rows and ten times the columns, the encoded table is
about square, which is the worst case for the linear families' matrices.
"""
GRID = """
[grids.xgboost]
n_estimators = [20]
"""
"""All boosters of the default grid, with few rounds: a tree takes little memory."""
SIMULATED_CPUS = """
import joblib

joblib.cpu_count = lambda *_, **__: {cpus}
"""


@dataclass(frozen=True)
class Point:
    """One measurement."""

    rows: int
    columns: int
    """Of the file, with the label and the id."""
    cpus: int
    csv_megabytes: float
    peak_megabytes: float
    seconds: float

    @property
    def cells(self) -> int:
        """Rows x columns."""
        return self.rows * self.columns


@dataclass(frozen=True)
class MemoryModel:
    """Peak memory in bytes: base + columns * per_column + cells * (per_cell + cpus * per_copy)."""

    base: float
    per_column: float
    per_cell: float
    per_copy: float
    """Per cell and CPU: each CPU has a quantized copy of the rows."""

    @classmethod
    def fit(cls, points: Sequence[Point]) -> "MemoryModel":
        """Fit non-negative figures by least squares of the relative errors."""
        peaks = np.array([point.peak_megabytes * 1e6 for point in points])
        terms = np.array([_terms(p.cells, p.columns, p.cpus) for p in points])
        figures, _ = nnls(terms / peaks[:, None], np.ones(len(points)))
        return cls(*map(float, figures))

    def predict(self, point: Point) -> float:
        """Return the expected peak of a point in megabytes."""
        figures = (self.base, self.per_column, self.per_cell, self.per_copy)
        return float(np.dot(_terms(point.cells, point.columns, point.cpus), figures)) / 1e6


def run() -> None:
    """Measure a job at each point; print the figures and the model; write memory.json."""
    settings = load_settings(PROJECT_ROOT / "settings.toml")
    table = read_table(settings)
    points = [_measure(table, *point, settings) for point in POINTS]
    model = MemoryModel.fit(points)
    ratios = [point.peak_megabytes / model.predict(point) for point in points]
    file = save_results(
        "memory",
        {
            "points": [asdict(point) for point in points],
            "model": asdict(model),
            "largest_ratio": max(ratios),
        },
    )
    _print(points, model, ratios)
    logger.info(f"written: {file.relative_to(PROJECT_ROOT)}")


def _terms(cells: int, columns: int, cpus: int) -> tuple[float, float, float, float]:
    return 1.0, columns, cells, cells * cpus


def _measure(
    table: pd.DataFrame, row_factor: int, column_factor: int, cpus: int, settings: Settings
) -> Point:
    """Measure a whole training job."""
    table = repeat_columns(repeat_rows(table, row_factor, settings), column_factor, settings)
    rows, columns = table.shape
    logger.info(f"memory: {rows:,} rows, {columns:,} columns, {cpus} CPUs")
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        file = _write_channels(table, folder)
        environment = table_environment(table, settings) | _environment(folder, cpus)
        del table  # not to be counted as the memory of this machine that is in use
        size = file.stat().st_size / 1e6
        usage = measure("training_job", "train", **environment)
    logger.info(f"  {usage.seconds:.0f} s, {usage.peak_megabytes:,.0f} MB")
    return Point(rows, columns, cpus, size, usage.peak_megabytes, usage.seconds)


def _write_channels(table: pd.DataFrame, folder: Path) -> Path:
    """Write what SageMaker would have downloaded; return the table's file."""
    channels = folder / "input" / "data"
    for channel in (Channel.CONFIG, Channel.TRAIN):
        (channels / channel).mkdir(parents=True)
    write_settings(channels / Channel.CONFIG, GRID)
    file = channels / Channel.TRAIN / "train.csv"
    table.to_csv(file, index=False, na_rep="NA")
    return file


def _environment(folder: Path, cpus: int) -> dict[str, str]:
    # Each process of the job loads this module first.
    (folder / "sitecustomize.py").write_text(SIMULATED_CPUS.format(cpus=cpus))
    return {
        "SAGEMAKER_BASE_DIR": str(folder),
        "PYTHONPATH": str(folder),
        # As in a job, the table is not copied into the artifacts; it is read from its channel.
        "STACK_DATA__TRAIN": "s3://bucket/data/train.csv",
    }


def _print(points: Sequence[Point], model: MemoryModel, ratios: Sequence[float]) -> None:
    print_table(
        "Memory of a training job",
        ("rows", "columns", "CPUs", "CSV MB", "peak MB", "by the model", "ratio", "seconds"),
        [
            (
                f"{point.rows:,}",
                f"{point.columns:,}",
                str(point.cpus),
                f"{point.csv_megabytes:,.1f}",
                f"{point.peak_megabytes:,.0f}",
                f"{model.predict(point):,.0f}",
                f"{ratio:.2f}",
                f"{point.seconds:.0f}",
            )
            for point, ratio in zip(points, ratios, strict=True)
        ],
    )
    print(
        f"peak = {model.base / 1e6:,.0f} MB + columns * {model.per_column / 1e6:.2f} MB "
        f"+ rows * columns * ({model.per_cell:.0f} + {model.per_copy:.1f} * CPUs) bytes"
    )
