"""The benchmarks run and measure; a failure of what they measure is reported in one line."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import serving, synthesis
from benchmarks.client import build_request, send_load
from benchmarks.growth import repeat_columns, repeat_rows
from benchmarks.measure import BenchmarkError, measure
from benchmarks.servers import list_servers, run_server
from contract.paths import PROJECT_ROOT
from contract.settings.loader import load_settings
from tests.helpers import run
from tests.serving.server import build_release


def test_child_processes_are_measured_too(folder: Path) -> None:
    settings = str(folder / "settings.toml")

    usage = measure("scripts.train", "--json", STACK_SETTINGS=settings)

    assert len(json.loads(usage.output)["leaderboard"]) == 2
    # Two processes with their libraries, on two cores at most.
    assert 200 < usage.peak_megabytes < 2000
    assert 1 < usage.cpu_seconds < 2 * usage.seconds + 1


def test_failed_command_is_reported_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"exited with code 2: error: .*: no such file"):
        measure("scripts.train", STACK_SETTINGS=str(tmp_path / "settings.toml"))


def test_alternatives_train_the_same_combinations(folder: Path) -> None:
    bare = run("benchmarks.bare_fits", folder=folder)
    naive = run("benchmarks.naive_loop", "1", folder=folder)

    assert json.loads(bare.stdout)["ridge"] > 0, bare.stderr
    ridge = json.loads(naive.stdout.splitlines()[-1])["ridge"]
    assert (ridge["trained"], ridge["combinations"]) == (1, 2), naive.stderr


def test_tables_grow_by_copies_with_noise() -> None:
    settings = load_settings(PROJECT_ROOT / "settings.toml")
    table = pd.read_csv(
        PROJECT_ROOT / "data/train.csv", keep_default_na=False, na_values=["NA", ""]
    )

    long = repeat_rows(table, 3, settings)
    wide = repeat_columns(table, 3, settings)

    assert long.shape == (3 * len(table), table.shape[1])
    assert long["Id"].is_unique
    assert long.dtypes.to_dict() == table.dtypes.to_dict()
    assert not long["GrLivArea"].tail(len(table)).reset_index(drop=True).equals(table["GrLivArea"])
    assert wide.shape == (len(table), 2 + 3 * (table.shape[1] - 2))
    assert wide["SalePrice"].equals(table["SalePrice"])


def test_server_is_measured(tmp_path: Path) -> None:
    build_release(tmp_path / "release", "xgboost")
    baseline, one_worker, *_ = list_servers(tmp_path / "release", tmp_path / "unused")
    bodies = serving.create_bodies()

    for server in (baseline, one_worker):
        figures: serving.Figures = {}
        with run_server(server) as running:
            serving.measure_server(running, bodies, 0.2, figures)
        assert figures["errors"] == [0]
        assert 0 < figures["p50_ms"][0] <= figures["p99_ms"][0] < 1000
        assert 5 < figures["memory_mb"][0] < 500
    three_rows = replace(bodies, each=bodies.each[:3])
    assert serving.count_differing_rows(one_worker, three_rows) == (0, 3)
    soak = serving.run_soak_test(one_worker, bodies.one, 1)
    assert soak["errors"] == 0
    assert soak["requests"] > 50


def test_error_status_is_reported(tmp_path: Path) -> None:
    build_release(tmp_path / "release", "ridge")
    _, one_worker, *_ = list_servers(tmp_path / "release", tmp_path / "unused")
    reason = "no response with status 200: 400"
    with run_server(one_worker) as running, pytest.raises(BenchmarkError, match=reason):
        send_load(running.port, build_request(running.port, "/invocations", b"{}"), 0.1)


def test_synthesis_is_compared_with_an_empty_stack() -> None:
    seconds = synthesis._round()

    assert set(seconds) == {synthesis.EMPTY, synthesis.CHECKED, synthesis.UNCHECKED}
    assert 0 < seconds[synthesis.EMPTY] < seconds[synthesis.CHECKED]
