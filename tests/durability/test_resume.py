"""A training that was cut off goes on with what is missing; a finished one is the answer."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from contract.paths import PROJECT_ROOT
from contract.settings.loader import Settings
from tests.durability.grid import (
    GRIDS,
    TOTAL,
    Board,
    board,
    children_of,
    client_of,
    go_on,
    read_until,
    runs,
)
from tests.helpers import run, start, train_in_process, write_settings
from training.result import TrainingResult


@pytest.mark.parametrize("tracked", [0, 1, 5, 9])
def test_after_kill_9_only_what_is_missing_is_run(
    folder: Path, unbroken: Board, tracked: int
) -> None:
    process = start("scripts.train", folder=folder)
    read_until(process, tracked)
    workers = children_of(process.pid)
    process.kill()
    process.communicate()
    before = {one.info.run_id for one in runs(folder)[1] if one.info.status == "FINISHED"}
    assert tracked <= len(before) < TOTAL

    result = go_on(folder)

    assert board(result) == unbroken
    assert result["already_tracked"] == len(before)
    parents, children = runs(folder)
    assert [one.info.status for one in parents] == ["FINISHED"]
    finished = {one.info.run_id for one in children if one.info.status == "FINISHED"}
    assert before < finished
    assert len(finished) == TOTAL
    # One that was cut off is marked as such.
    assert {one.info.status for one in children if one.info.run_id not in finished} <= {"KILLED"}
    assert {entry["run_id"] for entry in result["leaderboard"]} == finished
    assert parents[0].data.tags["winner"] == result["winner"]["run_id"]
    assert not [one for one in workers if _is_there(one)]


def test_a_training_killed_twice_and_before_its_end_is_whole(folder: Path, unbroken: Board) -> None:
    for tracked in (3, 7):
        process = start("scripts.train", folder=folder)
        read_until(process, tracked)
        process.kill()
        process.communicate()
    # As if it had been killed between the last combination and the leaderboard.
    result = go_on(folder)
    client = client_of(folder)
    client.update_run(result["parent_run_id"], "RUNNING")
    client.set_tag(result["parent_run_id"], "training.alive", "")

    again = go_on(folder)

    assert board(again) == board(result) == unbroken
    assert again["already_tracked"] == TOTAL
    assert again["test"] == pytest.approx(result["test"], rel=1e-12)
    assert client.get_run(result["parent_run_id"]).info.status == "FINISHED"
    number = client.get_run(result["parent_run_id"]).info.experiment_id
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/.local/mlflow.db"
    table = client.load_table(number, "leaderboard.json", [result["parent_run_id"]])
    assert table["combination"].tolist() == [name for name, _ in unbroken]


def test_an_interrupted_training_goes_on_too(folder: Path, unbroken: Board) -> None:
    process = start("scripts.train", folder=folder)
    read_until(process, 2)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    process.communicate()

    result = go_on(folder)

    assert result["already_tracked"] >= 2
    assert board(result) == unbroken


def test_a_finished_grid_answers_from_what_is_tracked(folder: Path) -> None:
    first = go_on(folder)

    done = run("scripts.train", folder=folder)

    parent = first["parent_run_id"]
    reason = f"Already trained on the same data, code and settings (run {parent})"
    assert f"{reason}; FORCE=1 trains it again" in done.stderr.splitlines()
    assert first["winner"]["run_id"] in done.stdout
    assert f"RMSE {first['test_metrics']['RMSE']:,.6g}" in done.stdout
    assert len(runs(folder)[1]) == TOTAL


def test_force_trains_anew(folder: Path) -> None:
    first = go_on(folder)

    done = run("scripts.train", "--force", "--json", folder=folder)

    again = json.loads(done.stdout)
    assert board(again) == board(first)
    assert again["already_tracked"] == 0
    assert again["parent_run_id"] != first["parent_run_id"]
    assert len(runs(folder)[1]) == 2 * TOTAL
    shown = subprocess.run(
        ["make", "-n", "train", "FORCE=1"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "scripts train --force" in " ".join(shown.stdout.split())


@pytest.mark.parametrize("changed", ["data", "settings"])
def test_other_data_or_settings_are_another_training(folder: Path, changed: str) -> None:
    first = go_on(folder)
    if changed == "data":
        table = folder / "train.csv"
        table.write_text(table.read_text().rstrip() + "1\n")
    else:
        write_settings(folder, **GRIDS, data={"seed": 7})

    again = go_on(folder)

    assert again["already_tracked"] == 0
    assert again["parent_run_id"] != first["parent_run_id"]


def test_a_run_that_somebody_deleted_is_done_again(folder: Path, unbroken: Board) -> None:
    first = go_on(folder)
    client_of(folder).delete_run(first["leaderboard"][4]["run_id"])

    again = go_on(folder)

    assert again["already_tracked"] == TOTAL - 1
    assert again["parent_run_id"] == first["parent_run_id"]
    assert board(again) == unbroken


def test_two_at_once_are_two_whole_trainings(folder: Path, unbroken: Board) -> None:
    assert _two_at_once(folder) == [sorted(unbroken)] * 2
    assert go_on(folder)["already_tracked"] == TOTAL


def test_two_at_once_never_go_on_in_the_same_run(folder: Path, unbroken: Board) -> None:
    process = start("scripts.train", folder=folder)
    read_until(process, 3)
    process.kill()
    process.communicate()

    assert _two_at_once(folder) == [sorted(unbroken)] * 2


def test_another_machine_is_believed_until_it_is_silent(settings: Settings) -> None:
    """A run that goes on elsewhere is left alone; one that went silent is taken over."""
    first: TrainingResult = train_in_process(settings)
    client = MlflowClient(first.tracking_uri)
    client.update_run(first.parent_run_id, "RUNNING")
    client.set_tag(first.parent_run_id, "training.alive", f"elsewhere {int(time.time()) - 60}")
    own = train_in_process(settings)
    assert own.parent_run_id != first.parent_run_id

    client.delete_run(own.parent_run_id)
    client.set_tag(first.parent_run_id, "training.alive", f"elsewhere {int(time.time()) - 3600}")
    taken = train_in_process(settings)
    assert taken.parent_run_id == first.parent_run_id
    assert taken.already_tracked == len(first.leaderboard)


def _is_there(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _two_at_once(folder: Path) -> list[Board]:
    """Train twice at the same time; what each parent run then has below it, by name."""
    both = [start("scripts.train", folder=folder) for _ in range(2)]
    for process in both:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0, out
    parents, children = runs(folder)
    assert {one.info.status for one in parents} == {"FINISHED"}
    return [
        sorted(
            (one.info.run_name, {n: one.data.metrics[n] for n in ("RMSE", "MAPE", "R2")})
            for one in children
            if one.data.tags["mlflow.parentRunId"] == parent.info.run_id
            and one.info.status == "FINISHED"
        )
        for parent in parents
    ]
