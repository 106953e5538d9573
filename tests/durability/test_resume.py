"""An interrupted training resumes with the missing combinations; a finished one is returned."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from contract.settings.loader import Settings
from tests.durability.trainings import (
    GRIDS,
    TOTAL,
    Leaderboard,
    children_of,
    client_of,
    leaderboard_of,
    read_until,
    resume,
    runs_of,
)
from tests.helpers import run, run_make, start, train_in_process, write_settings
from training.result import TrainingResult
from training.runs.tags import HEARTBEAT_TAG, WINNER_RUN_ID_TAG


@pytest.mark.parametrize("tracked", [0, 1, 5, 9])
def test_after_kill_9_only_missing_combinations_are_trained(
    folder: Path, uninterrupted: Leaderboard, tracked: int
) -> None:
    process = start("scripts.train", folder=folder)
    read_until(process, tracked)
    workers = children_of(process.pid)
    process.kill()
    process.communicate()
    before = {run.info.run_id for run in runs_of(folder)[1] if run.info.status == "FINISHED"}
    assert tracked <= len(before) < TOTAL

    result = resume(folder)

    assert leaderboard_of(result) == uninterrupted
    assert result["already_tracked"] == len(before)
    parents, children = runs_of(folder)
    assert [run.info.status for run in parents] == ["FINISHED"]
    finished = {run.info.run_id for run in children if run.info.status == "FINISHED"}
    assert before < finished
    assert len(finished) == TOTAL
    # The interrupted one is marked as such.
    assert {run.info.status for run in children if run.info.run_id not in finished} <= {"KILLED"}
    assert {entry["run_id"] for entry in result["leaderboard"]} == finished
    assert parents[0].data.tags[WINNER_RUN_ID_TAG] == result["winner"]["run_id"]
    assert not [pid for pid in workers if _is_alive(pid)]


def test_training_killed_twice_and_before_its_leaderboard_is_completed(
    folder: Path, uninterrupted: Leaderboard
) -> None:
    for tracked in (3, 7):
        process = start("scripts.train", folder=folder)
        read_until(process, tracked)
        process.kill()
        process.communicate()
    result = resume(folder)
    # As if it had been killed between the last combination and the leaderboard.
    client = client_of(folder)
    client.update_run(result["parent_run_id"], "RUNNING")
    client.set_tag(result["parent_run_id"], HEARTBEAT_TAG, "")

    again = resume(folder)

    assert leaderboard_of(again) == leaderboard_of(result) == uninterrupted
    assert again["already_tracked"] == TOTAL
    assert again["test_metrics"] == pytest.approx(result["test_metrics"], rel=1e-12)
    assert client.get_run(result["parent_run_id"]).info.status == "FINISHED"
    number = client.get_run(result["parent_run_id"]).info.experiment_id
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/.local/mlflow.db"
    table = client.load_table(number, "leaderboard.json", [result["parent_run_id"]])
    assert table["combination"].tolist() == [name for name, _ in uninterrupted]


def test_interrupted_training_is_resumed(folder: Path, uninterrupted: Leaderboard) -> None:
    process = start("scripts.train", folder=folder)
    read_until(process, 2)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    process.communicate()

    result = resume(folder)

    assert result["already_tracked"] >= 2
    assert leaderboard_of(result) == uninterrupted


def test_finished_training_is_returned(folder: Path) -> None:
    first = resume(folder)

    done = run("scripts.train", folder=folder)

    parent = first["parent_run_id"]
    reason = f"Already trained on the same data, code and settings (run {parent})"
    assert f"{reason}; FORCE=1 trains it again" in done.stderr.splitlines()
    assert first["winner"]["run_id"] in done.stdout
    assert f"RMSE {first['test_metrics']['RMSE']:,.6g}" in done.stdout
    assert len(runs_of(folder)[1]) == TOTAL


def test_force_trains_again(folder: Path) -> None:
    first = resume(folder)

    done = run("scripts.train", "--force", "--json", folder=folder)

    again = json.loads(done.stdout)
    assert leaderboard_of(again) == leaderboard_of(first)
    assert again["already_tracked"] == 0
    assert again["parent_run_id"] != first["parent_run_id"]
    assert len(runs_of(folder)[1]) == 2 * TOTAL
    shown = run_make("--dry-run", "train", "FORCE=1")
    assert "scripts train --force" in " ".join(shown.stdout.split())


@pytest.mark.parametrize("changed", ["data", "settings"])
def test_other_data_or_settings_start_another_training(folder: Path, changed: str) -> None:
    first = resume(folder)
    if changed == "data":
        table = folder / "train.csv"
        table.write_text(table.read_text().rstrip() + "1\n")
    else:
        write_settings(folder, **GRIDS, data={"seed": 7})

    again = resume(folder)

    assert again["already_tracked"] == 0
    assert again["parent_run_id"] != first["parent_run_id"]


def test_deleted_run_is_trained_again(folder: Path, uninterrupted: Leaderboard) -> None:
    first = resume(folder)
    client_of(folder).delete_run(first["leaderboard"][4]["run_id"])

    again = resume(folder)

    assert again["already_tracked"] == TOTAL - 1
    assert again["parent_run_id"] == first["parent_run_id"]
    assert leaderboard_of(again) == uninterrupted


LONG_GRIDS = {**GRIDS, "grids__xgboost": {**GRIDS["grids__xgboost"], "n_estimators": [5, 1500]}}
"""Fits that take longer than the delay between two processes that are started together."""


def test_two_trainings_at_once_are_both_complete(folder: Path) -> None:
    write_settings(folder, **LONG_GRIDS)

    first, second = _train_two_at_once(folder)

    assert first == second
    assert len(first) == TOTAL
    assert resume(folder)["already_tracked"] == TOTAL


def test_two_trainings_at_once_never_resume_the_same_run(folder: Path) -> None:
    write_settings(folder, **LONG_GRIDS)
    process = start("scripts.train", folder=folder)
    read_until(process, 3)
    process.kill()
    process.communicate()

    first, second = _train_two_at_once(folder)

    assert first == second
    assert len(first) == TOTAL


def test_scratch_folder_of_a_killed_training_is_removed(folder: Path) -> None:
    scratch = folder / ".local/scratch"
    process = start("scripts.train", folder=folder)
    read_until(process, 3)
    assert len(list(scratch.iterdir())) == 1
    process.kill()
    process.communicate()
    assert len(list(scratch.iterdir())) == 1
    write_settings(folder, **GRIDS, data={"seed": 7})  # another training, which resumes nothing

    resume(folder)

    assert list(scratch.iterdir()) == []


def test_run_of_another_machine_is_resumed_only_without_heartbeat(settings: Settings) -> None:
    first: TrainingResult = train_in_process(settings)
    client = MlflowClient(first.tracking_uri)
    client.update_run(first.parent_run_id, "RUNNING")
    client.set_tag(first.parent_run_id, HEARTBEAT_TAG, f"elsewhere {int(time.time()) - 60}")
    own = train_in_process(settings)
    assert own.parent_run_id != first.parent_run_id

    client.delete_run(own.parent_run_id)
    client.set_tag(first.parent_run_id, HEARTBEAT_TAG, f"elsewhere {int(time.time()) - 3600}")
    taken = train_in_process(settings)
    assert taken.parent_run_id == first.parent_run_id
    assert taken.already_tracked == len(first.leaderboard)


def _is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _train_two_at_once(folder: Path) -> list[Leaderboard]:
    """Train twice at the same time; return the finished child runs of each parent run, by name."""
    both = [start("scripts.train", folder=folder) for _ in range(2)]
    for process in both:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0, out
    parents, children = runs_of(folder)
    assert {run.info.status for run in parents} == {"FINISHED"}
    return [
        sorted(
            (run.info.run_name, {n: run.data.metrics[n] for n in ("RMSE", "MAPE", "R2")})
            for run in children
            if run.data.tags["mlflow.parentRunId"] == parent.info.run_id
            and run.info.status == "FINISHED"
        )
        for parent in parents
    ]
