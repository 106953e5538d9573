"""The benchmarks run, measure what they say, and end in one line where what they measure fails."""

import json
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import serving, synthesis
from benchmarks.client import request, send
from benchmarks.growth import longer, wider
from benchmarks.measure import BenchmarkError, measure
from benchmarks.servers import running, servers
from contract.paths import PROJECT_ROOT
from contract.settings.loader import load_settings
from tests.helpers import run
from tests.serving.server import build_release


def test_a_command_is_measured_with_what_it_starts(folder: Path) -> None:
    settings = str(folder / "settings.toml")

    usage = measure("scripts.train", "--json", STACK_SETTINGS=settings)

    assert len(json.loads(usage.output)["leaderboard"]) == 2
    # Two processes with their libraries, on two cores at most.
    assert 200 < usage.peak_megabytes < 2000
    assert 1 < usage.cpu_seconds < 2 * usage.seconds + 1


def test_a_command_that_fails_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"ended with exit code 2: error: .*: no such file"):
        measure("scripts.train", STACK_SETTINGS=str(tmp_path / "settings.toml"))


def test_the_peers_train_the_same_combinations(folder: Path) -> None:
    bare = run("benchmarks.bare", folder=folder)
    naive = run("benchmarks.naive", "1", folder=folder)

    assert json.loads(bare.stdout)["ridge"] > 0, bare.stderr
    ridge = json.loads(naive.stdout.splitlines()[-1])["ridge"]
    assert (ridge["trained"], ridge["of"]) == (1, 2), naive.stderr


def test_tables_grow_by_noisy_copies() -> None:
    settings = load_settings(PROJECT_ROOT / "settings.toml")
    table = pd.read_csv(
        PROJECT_ROOT / "data/train.csv", keep_default_na=False, na_values=["NA", ""]
    )

    long, wide = longer(table, 3, settings), wider(table, 3, settings)

    assert long.shape == (3 * len(table), table.shape[1])
    assert long["Id"].is_unique
    assert long.dtypes.to_dict() == table.dtypes.to_dict()
    assert not long["GrLivArea"].tail(len(table)).reset_index(drop=True).equals(table["GrLivArea"])
    assert wide.shape == (len(table), 2 + 3 * (table.shape[1] - 2))
    assert wide["SalePrice"].equals(table["SalePrice"])


def test_servers_are_asked_and_their_memory_is_watched(tmp_path: Path) -> None:
    build_release(tmp_path / "release", "xgboost")
    floor, one, *_ = servers(tmp_path / "release", tmp_path / "nothing")
    bodies = serving._bodies()

    for server in (floor, one):
        figures: serving.Figures = {}
        with running(server) as answering:
            serving._measure(answering, bodies, 0.2, figures)
        assert figures["errors"] == [0]
        assert 0 < figures["p50_ms"][0] <= figures["p99_ms"][0] < 1000
        assert 5 < figures["memory_mb"][0] < 500
    assert serving._differing(one, {**bodies, "rows": bodies["rows"][:3]}, 3) == (0, 3)
    soak = serving._soak(one, bodies["one"], 1)
    assert soak["errors"] == 0
    assert soak["requests"] > 50


def test_a_refusal_is_counted_as_an_error(tmp_path: Path) -> None:
    build_release(tmp_path / "release", "ridge")
    _, one, *_ = servers(tmp_path / "release", tmp_path / "nothing")
    with running(one) as answering, pytest.raises(BenchmarkError, match="no answer: 400"):
        send(answering.port, request(answering.port, "/invocations", b"{}"), 0.1)


def test_a_synthesis_is_measured_beside_an_empty_stack() -> None:
    seconds = synthesis._round()

    assert set(seconds) == {synthesis.EMPTY, synthesis.CHECKED, synthesis.UNCHECKED}
    assert 0 < seconds[synthesis.EMPTY] < seconds[synthesis.CHECKED]
