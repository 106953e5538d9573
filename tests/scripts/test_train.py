"""`make train` as a process: its output, its log and its exit code."""

import json
import os
import pty
import re
import select
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from sklearn.datasets import load_diabetes

from contract.paths import PROJECT_ROOT
from tests.durability.trainings import busy_machine
from tests.helpers import run, start, write_settings

PENDING = 1
"""MLflow's status of a model that is still being written."""
LARGE_GRID = {"alpha": [float(n) for n in range(1, 200)], "fit_intercept": [True]}


def _statuses(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / ".local/mlflow.db")) as store:
        return [row[0] for row in store.execute("select status from runs")]


def test_result_is_printed_to_stdout_and_progress_to_stderr(folder: Path) -> None:
    done = run("scripts.train", folder=folder)

    assert done.returncode == 0
    assert "Best 2 of 2 on the validation rows" in done.stdout
    assert re.search(r"Winner: ridge alpha=\d+ fit_intercept=True \(run \w{32}\)", done.stdout)
    assert "On the test rows: RMSE " in done.stdout
    assert "Tracked in experiment house-prices; show it with: make ui" in done.stdout
    lines = done.stderr.splitlines()
    assert lines[0].startswith("Training ridge on train.csv; tracking in sqlite:///")
    counts = "160 training rows, 40 validation rows, 50 test rows for the winner"
    assert lines[1] == f"2 combinations: {counts}"
    assert re.fullmatch(
        r"\[1/2\] ridge alpha=1 fit_intercept=True  RMSE [\d,.]+  best [\d,.]+  [\d.]+ s", lines[2]
    )
    assert len(lines) == 4


def test_json_contains_the_winner_and_the_leaderboard(folder: Path) -> None:
    done = run("scripts.train", "--json", folder=folder)

    result = json.loads(done.stdout)
    assert result["winner"] == result["leaderboard"][0]
    assert set(result["winner"]["metrics"]) == set(result["test_metrics"]) == {"RMSE", "MAPE", "R2"}
    assert len(result["leaderboard"]) == 2
    assert result["experiment"] == "house-prices"


def test_names_are_printed_without_markup(folder: Path) -> None:
    write_settings(folder, training={"experiment": "houses [/prod]"})

    done = run("scripts.train", folder=folder)

    assert done.returncode == 0, done.stderr
    assert "Tracked in experiment houses [/prod]; show it" in done.stdout


def test_winner_is_not_scored_without_a_test_table(folder: Path) -> None:
    write_settings(folder, data={"test": "", "test_labels": ""})

    done = run("scripts.train", folder=folder)

    assert done.returncode == 0
    assert "Not scored on test rows" in done.stdout


def test_another_table_requires_only_other_settings(folder: Path) -> None:
    """scikit-learn's diabetes data in Parquet: a category code, missing values, no ID or test."""
    rows = load_diabetes(as_frame=True, scaled=False).frame
    rows["sex"] = rows["sex"].map({1.0: 1, 2.0: 2})
    rows.loc[::7, "bmi"] = float("nan")
    rows.to_parquet(folder / "diabetes.parquet")
    (folder / "settings.toml").write_text(
        '[data]\ntrain = "diabetes.parquet"\nlabel = "target"\ncategorical = ["sex"]\n'
        '[training]\nexperiment = "diabetes"\nfamilies = ["ridge", "xgboost"]\n'
        "[grids.xgboost]\nn_estimators = [50]\nmax_depth = [2]\nsubsample = [1.0]\n"
    )

    result = json.loads(run("scripts.train", "--json", folder=folder).stdout)

    assert len(result["leaderboard"]) == 6 + 3
    assert result["winner"]["metrics"]["R2"] > 0.35
    assert result["test_metrics"] is None


def test_winner_has_the_best_value_of_the_configured_metric(folder: Path) -> None:
    write_settings(folder, training={"metric": "R2"})

    board = json.loads(run("scripts.train", "--json", folder=folder).stdout)["leaderboard"]

    assert board[0]["metrics"]["R2"] == max(entry["metrics"]["R2"] for entry in board)


def test_first_line_is_logged_before_the_libraries_are_loaded(folder: Path) -> None:
    """Within a second on an idle machine; three seconds here, where other tests may run."""
    start_time = time.monotonic()
    process = start("scripts.train", folder=folder)
    assert process.stdout is not None
    line = process.stdout.readline()
    seconds = time.monotonic() - start_time
    process.terminate()
    process.communicate(timeout=60)

    assert line.startswith("Training ridge")
    assert seconds < 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_leaves_no_run_running(folder: Path, number: signal.Signals) -> None:
    _check_interrupt(folder, number)


def test_interrupt_on_a_busy_machine_leaves_no_run_running(folder: Path) -> None:
    with busy_machine():
        _check_interrupt(folder, signal.SIGINT)


def _check_interrupt(folder: Path, number: signal.Signals) -> None:
    write_settings(folder, grids__ridge=LARGE_GRID)
    process = start("scripts.train", folder=folder)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("[  3/199]"):
            break
    process.send_signal(number)
    process.send_signal(number)  # as a terminal and `make` together do

    rest, _ = process.communicate(timeout=60)

    assert process.returncode == 128 + number
    assert rest.splitlines()[-1] == "interrupted"
    assert "Traceback" not in rest
    statuses = _statuses(folder)
    assert statuses.count("FINISHED") >= 3
    assert statuses.count("KILLED") >= 1
    assert set(statuses) <= {"FINISHED", "KILLED"}
    assert statuses[0] == "KILLED"  # the parent
    with closing(sqlite3.connect(folder / ".local/mlflow.db")) as store:
        models = {row[0] for row in store.execute("select status from logged_models")}
    assert PENDING not in models


def test_interrupt_stops_boosters_after_the_current_round(folder: Path) -> None:
    """They would run for hours, in threads of their own."""
    grid = {"n_estimators": [10_000_000], "max_depth": [3, 5]}
    write_settings(folder, training={"families": ["xgboost"]}, grids__xgboost=grid)
    process = start("scripts.train", folder=folder)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("12 combinations"):
            break
    time.sleep(3)
    process.send_signal(signal.SIGINT)

    rest, _ = process.communicate(timeout=30)

    assert (process.returncode, rest.splitlines()) == (130, ["interrupted"])
    assert _statuses(folder) == ["KILLED"]


def test_interrupt_before_the_first_run_is_reported_in_one_line(folder: Path) -> None:
    process = start("scripts.train", folder=folder)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)

    rest, _ = process.communicate(timeout=60)

    assert (process.returncode, rest.splitlines()) == (130, ["interrupted"])


def test_terminal_shows_a_bar_with_the_best_metric_and_the_remaining_time(folder: Path) -> None:
    write_settings(folder, grids__ridge={**LARGE_GRID, "alpha": [1, 2, 3, 4, 5, 6]})
    terminal, stderr = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.train"],
        cwd=PROJECT_ROOT,
        env={
            **os.environ,
            "STACK_SETTINGS": str(folder / "settings.toml"),
            "TERM": "xterm-256color",
            "COLUMNS": "140",
        },
        stdout=subprocess.DEVNULL,
        stderr=stderr,
    )
    os.close(stderr)
    output = b""
    while process.poll() is None or select.select([terminal], [], [], 0)[0]:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                output += os.read(terminal, 65536)
            except OSError:  # the process closed its end
                break
    os.close(terminal)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.decode())

    assert process.wait(timeout=60) == 0
    assert re.search(r"━+ +[1-5]/6 +\S*:\S+ +best RMSE [\d,.]+ +ridge alpha=\d", text)
    assert "[1/6]" not in text


def test_missing_table_is_reported_in_one_line_with_exit_code_2(folder: Path) -> None:
    (folder / "train.csv").unlink()

    done = run("scripts.train", folder=folder)

    assert done.returncode == 2
    assert done.stderr.splitlines()[1:] == [f"error: {folder}/train.csv: no such file"]
    assert _statuses(folder) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"labl": "x"}}, "settings.toml: data.labl: unknown setting"),
        ({"training": {"families": ["lasso"]}}, "training.families: no family 'lasso'; there are"),
        ({"training": {"families": ["ridge", "ridge"]}}, "training.families: a family appears tw"),
        ({"grids__rigde": {"alpha": [1]}}, "grids.rigde: no such family; there are ridge, "),
        ({"grids__ridge": {"alpha": []}}, "grids.ridge.alpha: the list of values is empty"),
        ({"grids__ridge": {"alfa": [1]}}, "grids.ridge.alfa: the family has no such parameter"),
        ({"grids__ridge": {"alpha": [-1]}}, "grids.ridge: The 'alpha' parameter of Ridge must be"),
        ({"grids__ridge": {"alpha": ["x"]}}, "grids.ridge: The 'alpha' parameter of Ridge must b"),
        ({"grids__ridge": {"solver": [1.5]}}, "grids.ridge: The 'solver' parameter of Ridge mus"),
        ({"tracking": {"uri": "sqlite://"}}, "tracking.uri: an in-memory store would be lost"),
        ({"tracking": {"uri": "gopher://x"}}, "tracking at gopher://x: "),
        ({"tracking": {"uri": "sqlite:////proc/no/mlflow.db"}}, "tracking at sqlite:////proc/no"),
    ],
)
def test_invalid_setting_is_reported_in_one_line_with_exit_code_2(
    folder: Path, changes: dict[str, dict[str, object]], message: str
) -> None:
    write_settings(folder, **changes)

    done = run("scripts.train", folder=folder)

    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2
    assert len(errors) == 1
    assert errors[0].startswith(f"error: {message}")
    assert done.stderr.splitlines()[-1] == errors[0]
    assert done.stdout == ""
    assert set(_statuses(folder)) <= {"FAILED"}


def test_unreachable_tracking_server_is_reported_in_one_line_within_a_minute(folder: Path) -> None:
    start_time = time.monotonic()
    done = run("scripts.train", folder=folder, MLFLOW_TRACKING_URI="http://127.0.0.1:9")

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: tracking at http://127.0.0.1:9: ")
    assert "Traceback" not in done.stderr
    assert time.monotonic() - start_time < 60


def test_password_in_the_address_is_masked(folder: Path) -> None:
    done = run("scripts.train", folder=folder, MLFLOW_TRACKING_URI="http://me:secret@127.0.0.1:9")

    assert done.returncode == 2
    assert "tracking at http://me:***@127.0.0.1:9: " in done.stderr
    assert "secret" not in done.stderr


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_http_error_of_the_tracking_server_is_reported_in_one_line(
    folder: Path, status: int
) -> None:
    class ErrorHandler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_error(status)

        do_GET = do_POST  # noqa: N815 - http.server's name

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), ErrorHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    uri = f"http://127.0.0.1:{server.server_port}"

    done = run("scripts.train", folder=folder, MLFLOW_TRACKING_URI=uri)

    server.shutdown()
    server.server_close()
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"error: tracking at {uri}: ")
    assert str(status) in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_corrupt_store_is_reported_in_one_line(folder: Path) -> None:
    (folder / ".local/mlflow.db").write_text("not a database " * 100)

    done = run("scripts.train", folder=folder)

    assert done.returncode == 2
    assert "file is not a database" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_unknown_option_is_reported_in_one_line(folder: Path) -> None:
    done = run("scripts.train", "--fast", folder=folder)

    assert done.returncode == 2
    assert done.stderr.startswith("error: No such option: --fast")
    assert len(done.stderr.splitlines()) == 1
