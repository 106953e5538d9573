"""The speed of the server, compared with alternatives and with a baseline without a model."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Event, Thread

import mlflow
import numpy as np
import pandas as pd

from benchmarks.client import build_request, send_load, send_one
from benchmarks.measure import BenchmarkError, measure, write_settings
from benchmarks.mlserver import install_mlserver
from benchmarks.report import print_table, save_results
from benchmarks.servers import RunningServer, Server, list_servers, run_server
from contract.paths import PROJECT_ROOT
from contract.settings.loader import load_settings
from training.data.dataset import read_training, split
from training.data.tables import is_text_column

logger = logging.getLogger(__name__)

BASELINE, ONE_WORKER, SERVING, MLFLOW, MLFLOW_RELEASE = (
    "baseline",
    "serving, one worker",
    "serving",
    "mlflow models serve",
    "mlflow models serve, ONNX release",
)
CONNECTIONS = 8
BATCH_ROWS = 1000
BEST_COMBINATION = """
[grids.xgboost]
learning_rate = [0.1]
max_depth = [3]
n_estimators = [500]
subsample = [1.0]
"""
WARM_UP_REQUESTS = 20
SOAK_WARM_UP_SECONDS = 10

Figures = dict[str, list[float]]
"""The figures of a server by name, one value per round."""


@dataclass(frozen=True)
class Ratio:
    """A ratio between the same figure of two servers, with its goal."""

    name: str
    figure: str
    numerator: str
    denominator: str
    goal: float
    at_most: bool

    def __str__(self) -> str:
        return f"{self.name}: {self.numerator} / {self.denominator}"

    def compute(self, figures: Mapping[str, Figures]) -> float:
        """Return the ratio of the medians."""
        values = (figures[name][self.figure] for name in (self.numerator, self.denominator))
        numerator, denominator = map(median, values)
        return numerator / denominator


RATIOS = (
    Ratio("one row, p50", "p50_ms", ONE_WORKER, BASELINE, 2, at_most=True),
    Ratio("one row, p50", "p50_ms", MLFLOW, ONE_WORKER, 50, at_most=False),
    Ratio("requests/s at 8 connections", "rate", SERVING, MLFLOW, 100, at_most=False),
    Ratio("1,000 rows", "batch_ms", ONE_WORKER, MLFLOW, 1 / 4, at_most=True),
    Ratio("memory per worker", "memory_mb", ONE_WORKER, MLFLOW, 1 / 4, at_most=True),
    Ratio("start", "start_s", ONE_WORKER, MLFLOW, 1 / 10, at_most=True),
)


@dataclass(frozen=True)
class Bodies:
    """The bodies of the requests. Every server can parse them: all columns, and no null text."""

    one: bytes
    """One row."""
    batch: bytes
    """1,000 rows."""
    each: Sequence[bytes]
    """Each validation row, alone."""
    together: bytes
    """The validation rows in one request."""


def run(repeats: int = 3, seconds: float = 3.0, soak_seconds: float = 60.0) -> None:
    """Measure each server once per round; print tables and write serving.json.

    Args:
        repeats: The number of rounds.
        seconds: The duration of each load.
        soak_seconds: The duration of the soak test.
    """
    with TemporaryDirectory() as scratch:
        release, pipeline = _train_and_release(Path(scratch))
        bodies = create_bodies()
        servers = list_servers(release, pipeline)
        try:
            servers.append(install_mlserver(pipeline, Path(scratch)))
        except BenchmarkError as error:
            logger.info(str(error))
        figures: dict[str, Figures] = {server.name: {} for server in servers}
        for number in range(1, repeats + 1):
            logger.info("serving, round %d of %d", number, repeats)
            for server in servers:
                with run_server(server) as running:
                    measure_server(running, bodies, seconds, figures[server.name])
        by_name = {server.name: server for server in servers}
        differing = {
            name: count_differing_rows(by_name[name], bodies) for name in (ONE_WORKER, MLFLOW)
        }
        soak = run_soak_test(by_name[SERVING], bodies.one, soak_seconds)
    results = {
        "servers": figures,
        "ratios": {str(ratio): ratio.compute(figures) for ratio in RATIOS},
        "rows_that_differ_alone": differing,
        "soak": soak,
    }
    file = save_results("serving", results)
    _print(figures, differing, soak)
    logger.info("written: %s", file.relative_to(PROJECT_ROOT))


def _train_and_release(folder: Path) -> tuple[Path, Path]:
    """Train and release the best combination; return the folders of release and tracked model."""
    environment = write_settings(folder, BEST_COMBINATION)
    environment |= {"STACK_TRAINING__FAMILIES": '["xgboost"]'}
    result = json.loads(measure("scripts.train", "--json", **environment).output)
    measure("scripts.release", **environment)
    mlflow.set_tracking_uri(f"sqlite:///{folder}/.local/mlflow.db")
    uri = f"runs:/{result['winner']['run_id']}/model"
    pipeline = mlflow.artifacts.download_artifacts(uri, dst_path=str(folder / "pipeline"))
    return folder / ".local/releases/house-prices/1", Path(pipeline)


def create_bodies() -> Bodies:
    """Create the bodies from rows of the project's training table."""
    settings = load_settings(PROJECT_ROOT / "settings.toml")
    data = split(read_training(settings), settings)
    train, val = (_fill_text(table) for table in (data.X_train, data.X_val))
    return Bodies(
        one=_to_json(val.dropna().head(1)),
        batch=_to_json(train.head(BATCH_ROWS)),
        each=[_to_json(val.iloc[[number]]) for number in range(len(val))],
        together=_to_json(val),
    )


def _fill_text(table: pd.DataFrame) -> pd.DataFrame:
    texts = [name for name in map(str, table) if is_text_column(table[name])]
    return table.assign(**{name: table[name].fillna("NA") for name in texts})


def _to_json(rows: pd.DataFrame) -> bytes:
    split_rows = rows.to_json(orient="split", index=False, double_precision=15)
    return f'{{"dataframe_split": {split_rows}}}'.encode()


def measure_server(
    running: RunningServer, bodies: Bodies, seconds: float, figures: Figures
) -> None:
    """Send the loads to a server, and append one value to each of its figures."""
    single, batch = (
        build_request(running.port, running.server.path, body)
        for body in (bodies.one, bodies.batch)
    )
    send_load(running.port, single, 0.3, minimum=WARM_UP_REQUESTS)
    sequential = send_load(running.port, single, seconds)
    concurrent = send_load(running.port, single, seconds, CONNECTIONS)
    batches = send_load(running.port, batch, seconds / 2, minimum=3)
    measured = {
        "p50_ms": 1000 * sequential.quantile(0.5),
        "p99_ms": 1000 * sequential.quantile(0.99),
        "rate": concurrent.rate,
        "batch_ms": 1000 * batches.quantile(0.5),
        "memory_mb": running.memory(),
        "start_s": running.cold_start,
        "errors": float(sum(len(load.errors) for load in (sequential, concurrent, batches))),
    }
    p50, rate = measured["p50_ms"], measured["rate"]
    logger.info("  %s: %.2f ms, %.0f requests/s", running.server.name, p50, rate)
    for name, figure in measured.items():
        figures.setdefault(name, []).append(figure)


def count_differing_rows(server: Server, bodies: Bodies) -> tuple[int, int]:
    """Return how many rows get another prediction alone than in a batch, and the number of rows."""
    with run_server(server) as running:
        port, path = running.port, server.path
        together = _parse_predictions(send_one(port, path, bodies.together))[: len(bodies.each)]
        alone = [_parse_predictions(send_one(port, path, body))[0] for body in bodies.each]
    differ = np.array(alone) != np.array(together)
    return int(differ.sum()), len(alone)


def _parse_predictions(body: bytes) -> list[float]:
    values = json.loads(body)["predictions"]
    return [value["prediction"] if isinstance(value, dict) else value for value in values]


def run_soak_test(server: Server, body: bytes, seconds: float) -> dict[str, float]:
    """Send requests at the highest rate; return the rate, the errors and the change of memory."""
    logger.info("soak test: %g s at the highest rate", seconds)
    done, samples = Event(), []
    with run_server(server) as running:
        request = build_request(running.port, server.path, body)
        send_load(running.port, request, min(SOAK_WARM_UP_SECONDS, seconds), CONNECTIONS)

        def sample_memory() -> None:
            while not done.wait(1):
                samples.append(running.unique_memory())

        samples.append(running.unique_memory())
        sampler = Thread(target=sample_memory, daemon=True)
        sampler.start()
        load = send_load(running.port, request, seconds, CONNECTIONS)
        done.set()
        sampler.join()
        samples.append(running.unique_memory())
    return {
        "seconds": load.seconds,
        "requests": len(load.latencies),
        "rate": load.rate,
        "errors": len(load.errors),
        "p99_ms": 1000 * load.quantile(0.99),
        "memory_first_mb": samples[0],
        "memory_last_mb": samples[-1],
        "memory_range": max(samples) / min(samples) - 1,
    }


def _print(
    figures: Mapping[str, Figures],
    differing: Mapping[str, tuple[int, int]],
    soak: Mapping[str, float],
) -> None:
    header = (
        "",
        "p50 ms",
        "p99 ms",
        "requests/s at 8",
        "1,000 rows ms",
        "MB per worker",
        "start s",
    )
    formats = {
        "p50_ms": ".2f",
        "p99_ms": ".2f",
        "rate": ",.0f",
        "batch_ms": ".1f",
        "memory_mb": ",.0f",
        "start_s": ".2f",
    }
    rows = [
        (server, *(format(median(values[name]), form) for name, form in formats.items()))
        for server, values in figures.items()
    ]
    print_table("One row per request unless stated otherwise; median of the rounds", header, rows)
    ratios = [
        (
            str(ratio),
            f"{ratio.compute(figures):.2f}",
            f"at {'most' if ratio.at_most else 'least'} {ratio.goal:g}",
        )
        for ratio in RATIOS
    ]
    print_table("Ratios of the medians", ("", "ratio", "goal"), ratios)
    for server, (count, total) in differing.items():
        logger.info("%s: %d of %d rows differ alone and in a batch", server, count, total)
    logger.info(
        f"soak test: {soak['requests']:,.0f} requests in {soak['seconds']:.0f} s, "
        f"{soak['errors']:g} errors, p99 {soak['p99_ms']:.1f} ms; memory changed by up to "
        f"{soak['memory_range']:.1%}, from {soak['memory_first_mb']:.0f} MB "
        f"to {soak['memory_last_mb']:.0f} MB"
    )
