"""The speed of the server, in comparison with what one would use else, and with the floor."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any

import mlflow
import numpy as np
import pandas as pd

from benchmarks.client import Load, ask, request, send
from benchmarks.measure import BenchmarkError, measure, settings_in
from benchmarks.mlserver import mlserver
from benchmarks.report import save, show
from benchmarks.servers import Running, Server, running, servers
from contract.paths import PROJECT_ROOT
from contract.settings.loader import load_settings
from training.data.dataset import read_training, split
from training.data.tables import is_text_column

logger = logging.getLogger(__name__)

FLOOR, ONE, OURS, MLFLOW, MLFLOW_RELEASE = (
    "floor",
    "serving, one worker",
    "serving",
    "mlflow models serve",
    "mlflow models serve, of the release",
)
CONNECTIONS = 8
MANY = 1000
WINNER = """
[grids.xgboost]
learning_rate = [0.1]
max_depth = [3]
n_estimators = [500]
subsample = [1.0]
"""
"""The best combination of the whole grid, alone."""
WARM_UP = 20
SOAK_WARM_UP = 10

Figures = dict[str, list[float]]
GOALS: tuple[tuple[str, str, str, str, float, bool], ...] = (
    ("one row, p50", "p50_ms", ONE, FLOOR, 2, True),
    ("one row, p50", "p50_ms", MLFLOW, ONE, 50, False),
    ("requests/s at 8 connections", "rate", OURS, MLFLOW, 100, False),
    ("1,000 rows", "many_ms", ONE, MLFLOW, 1 / 4, True),
    ("memory of a worker", "memory_mb", ONE, MLFLOW, 1 / 4, True),
    ("cold start", "cold_start_s", ONE, MLFLOW, 1 / 10, True),
)
"""What, its figure, of which, to which, how many times, and whether that is a most or a least."""


def run(repeats: int = 3, seconds: float = 3.0, soak_seconds: float = 60.0) -> None:
    """Measure all servers in turn, several times; print tables and write serving.json.

    Args:
        repeats: How often.
        seconds: How long each load lasts.
        soak_seconds: How long the soak does.
    """
    with TemporaryDirectory() as scratch:
        release, pipeline = _prepare(Path(scratch))
        bodies = _bodies()
        peers = servers(release, pipeline)
        try:
            peers.append(mlserver(pipeline, Path(scratch)))
        except BenchmarkError as error:
            logger.info(str(error))
        figures: dict[str, Figures] = {peer.name: {} for peer in peers}
        for number in range(1, repeats + 1):
            logger.info(f"serving, round {number} of {repeats}")
            _round(peers, bodies, seconds, figures)
        by_name = {peer.name: peer for peer in peers}
        differing = {name: _differing(by_name[name], bodies) for name in (ONE, MLFLOW)}
        soak = _soak(by_name[OURS], bodies["one"], soak_seconds)
    ratios = {
        (what, a, b): median(figures[a][figure]) / median(figures[b][figure])
        for what, figure, a, b, _, _ in GOALS
    }
    findings = {
        "servers": figures,
        "ratios": {f"{what}: {a} / {b}": ratio for (what, a, b), ratio in ratios.items()},
        "rows_that_differ_alone": differing,
        "soak": soak,
    }
    file = save("serving", findings)
    _show(figures, ratios, differing, soak)
    logger.info(f"written: {file.relative_to(PROJECT_ROOT)}")


def _prepare(folder: Path) -> tuple[Path, Path]:
    """Train and release the winner; return the release's folder and the tracked model's."""
    environment = settings_in(folder, WINNER)
    environment |= {"STACK_TRAINING__FAMILIES": '["xgboost"]'}
    result = json.loads(measure("scripts.train", "--json", **environment).output)
    measure("scripts.release", **environment)
    mlflow.set_tracking_uri(f"sqlite:///{folder}/.local/mlflow.db")
    uri = f"runs:/{result['winner']['run_id']}/model"
    pipeline = mlflow.artifacts.download_artifacts(uri, dst_path=str(folder / "pipeline"))
    return folder / ".local/releases/house-prices/1", Path(pipeline)


def _bodies() -> dict[str, Any]:
    """Return requests that every server can answer: all columns, and no null text."""
    settings = load_settings(PROJECT_ROOT / "settings.toml")
    parts = split(read_training(settings), settings)
    tables = {"val": parts.X_val, "train": parts.X_train}
    plain = {name: _without_null_text(table) for name, table in tables.items()}
    whole = plain["val"].dropna()
    rows = [_body(plain["val"].iloc[[number]]) for number in range(len(plain["val"]))]
    return {
        "one": _body(whole.head(1)),
        "many": _body(plain["train"].head(MANY)),
        "rows": rows,
        "together": _body(plain["val"]),
    }


def _without_null_text(table: pd.DataFrame) -> pd.DataFrame:
    texts = [name for name in map(str, table) if is_text_column(table[name])]
    return table.assign(**{name: table[name].fillna("NA") for name in texts})


def _body(rows: pd.DataFrame) -> bytes:
    split_rows = rows.to_json(orient="split", index=False, double_precision=15)
    return f'{{"dataframe_split": {split_rows}}}'.encode()


def _round(
    peers: list[Server], bodies: Mapping[str, Any], seconds: float, figures: dict[str, Figures]
) -> None:
    for peer in peers:
        with running(peer) as one:
            _measure(one, bodies, seconds, figures[peer.name])


def _measure(one: Running, bodies: Mapping[str, Any], seconds: float, figures: Figures) -> None:
    single = request(one.port, one.server.path, bodies["one"])
    many = request(one.port, one.server.path, bodies["many"])
    send(one.port, single, 0.3, least=WARM_UP)
    alone = send(one.port, single, seconds)
    together = send(one.port, single, seconds, CONNECTIONS)
    rows = send(one.port, many, seconds / 2, least=3)
    found = {
        "p50_ms": 1000 * alone.at(0.5),
        "p99_ms": 1000 * alone.at(0.99),
        "rate": together.rate,
        "many_ms": 1000 * rows.at(0.5),
        "memory_mb": one.memory(),
        "cold_start_s": one.cold_start,
        "errors": float(sum(len(one.errors) for one in (alone, together, rows))),
    }
    logger.info(f"  {one.server.name}: {found['p50_ms']:.2f} ms, {found['rate']:,.0f} requests/s")
    for name, figure in found.items():
        figures.setdefault(name, []).append(figure)


def _differing(
    server: Server, bodies: Mapping[str, Any], some: int | None = None
) -> tuple[int, int]:
    """Return how many rows get another answer alone than together, and of how many."""
    with running(server) as one:
        together = _predictions(ask(one.port, server.path, bodies["together"]))[:some]
        alone = [_predictions(ask(one.port, server.path, row))[0] for row in bodies["rows"]]
    differ = np.array(alone) != np.array(together)
    return int(differ.sum()), len(alone)


def _predictions(answer: bytes) -> list[float]:
    given = json.loads(answer)["predictions"]
    return [one["prediction"] if isinstance(one, dict) else one for one in given]


def _soak(server: Server, body: bytes, seconds: float) -> dict[str, float]:
    """Ask as fast as it answers; return rate, errors and how far memory went from its start."""
    logger.info(f"soak of {seconds:g} s at the highest rate")
    over, samples = Event(), []
    with running(server) as one:
        single = request(one.port, server.path, body)
        send(one.port, single, min(SOAK_WARM_UP, seconds), CONNECTIONS)

        def sample() -> None:
            while not over.wait(1):
                samples.append(one.own_memory())

        samples.append(one.own_memory())
        watcher = Thread(target=sample, daemon=True)
        watcher.start()
        load_settings: Load = send(one.port, single, seconds, CONNECTIONS)
        over.set()
        watcher.join()
        samples.append(one.own_memory())
    return {
        "seconds": load_settings.seconds,
        "requests": len(load_settings.latencies),
        "rate": load_settings.rate,
        "errors": len(load_settings.errors),
        "p99_ms": 1000 * load_settings.at(0.99),
        "memory_first_mb": samples[0],
        "memory_last_mb": samples[-1],
        "memory_moved": max(samples) / min(samples) - 1,
    }


def _show(
    figures: Mapping[str, Figures],
    ratios: Mapping[tuple[str, str, str], float],
    differing: Mapping[str, tuple[int, int]],
    soak: Mapping[str, float],
) -> None:
    heads = ("", "p50 ms", "p99 ms", "requests/s at 8", "1,000 rows ms", "MB a worker", "start s")
    formats = {
        "p50_ms": ".2f",
        "p99_ms": ".2f",
        "rate": ",.0f",
        "many_ms": ".1f",
        "memory_mb": ",.0f",
        "cold_start_s": ".2f",
    }
    show(
        "One row a request, unless it says otherwise; the middle of the rounds",
        heads,
        [
            (name, *(format(median(found[key]), form) for key, form in formats.items()))
            for name, found in figures.items()
        ],
    )
    goals = {
        (what, a, b): f"at {'most' if most else 'least'} {times:g}"
        for what, _, a, b, times, most in GOALS
    }
    show(
        "Ratios of the middles",
        ("", "ratio", "aimed at"),
        [
            (f"{key[0]}: {key[1]} / {key[2]}", f"{ratio:.2f}", goals[key])
            for key, ratio in ratios.items()
        ],
    )
    for name, (some, of) in differing.items():
        logger.info(f"{name}: {some} of {of} rows get another answer alone than in a batch")
    logger.info(
        f"soak: {soak['requests']:,.0f} requests in {soak['seconds']:.0f} s, "
        f"{soak['errors']:g} errors, p99 {soak['p99_ms']:.1f} ms; memory moved by "
        f"{soak['memory_moved']:.1%}, from {soak['memory_first_mb']:.0f} MB "
        f"to {soak['memory_last_mb']:.0f} MB"
    )
