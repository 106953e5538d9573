"""Faults of training jobs: each is survived, or reported with what to do; nothing is doubled."""

import json
import os
import pty
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread, Timer
from typing import Any

import pytest
from mlflow import MlflowClient

from aws import retries
from aws.retries import CredentialsExpiredError
from contract.errors import FamilyError, InfraError, StackError, TrainingJobError
from contract.names import Image, StackOutput, repository_name
from contract.training_job import JobVariable
from endpoints.sagemaker import target as sagemaker_target
from endpoints.sagemaker.jobs import TrainingJobs
from tests.durability.trainings import GRIDS, Leaderboard, leaderboard_of
from tests.endpoints.sagemaker.stage import TOTAL, EmulatedStage, make_process, put_image
from tests.helpers import Recorder, wait_until

pytestmark = pytest.mark.timeout(400)
Records = pytest.LogCaptureFixture


@pytest.fixture(autouse=True)
def fast_polling(monkeypatch: pytest.MonkeyPatch, caplog: Records) -> None:
    monkeypatch.setattr(sagemaker_target, "POLL_SECONDS", 0.5)
    caplog.set_level("INFO")


class _Event(Recorder):
    """Calls a function once, as soon as so many combinations are tracked."""

    def __init__(self, count: int, call: Any) -> None:
        super().__init__()
        self._count, self._call = count, call

    def tracked(self, *arguments: Any) -> None:
        super().tracked(*arguments)
        if len(self.entries) == self._count:
            self._call()


class _Start(Recorder):
    """Calls a function once, as soon as the first job has started to train."""

    def __init__(self, call: Any) -> None:
        super().__init__()
        self._call = call

    def started(self, *arguments: Any) -> None:
        super().started(*arguments)
        call, self._call = self._call, lambda: None
        call()


def _fault(action: str, code: str, **more: Any) -> dict[str, Any]:
    return {"action": action, "code": code, "status": 400, "message": f"{code}.", **more}


def _runs(stage: EmulatedStage, experiment: str) -> tuple[list[str], list[str]]:
    """Return the statuses of the parent runs and of the child runs of an experiment."""
    client = MlflowClient(stage.server.uri)
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    parents = [run.info.status for run in found if "mlflow.parentRunId" not in run.data.tags]
    children = [run.info.status for run in found if "mlflow.parentRunId" in run.data.tags]
    return parents, children


def _use(credentials: dict[str, str]) -> None:
    os.environ.update(credentials)


# --- While a job is followed ----------------------------------------------------------------------


def test_expired_credentials_are_read_again(
    stage: EmulatedStage, tmp_path: Path, caplog: Records
) -> None:
    old, new = os.environ["AWS_ACCESS_KEY_ID"], stage.credentials()

    def expire() -> None:
        stage.account.inject_faults(_fault("*", "ExpiredTokenException", access_key=old))
        _use(new)

    result = stage.target(tmp_path).train(_Event(1, expire))

    assert len(result.leaderboard) == TOTAL
    assert "the AWS credentials expired; continuing with new ones" in caplog.text


def test_expired_credentials_without_new_ones_end_with_the_command_that_resumes(
    stage: EmulatedStage, tmp_path: Path
) -> None:
    old = os.environ["AWS_ACCESS_KEY_ID"]
    expired = _fault("*", "ExpiredTokenException", access_key=old)
    target = stage.target(tmp_path)

    with pytest.raises(CredentialsExpiredError, match=r"make train TARGET=aws STAGE=dev again"):
        target.train(_Event(1, lambda: stage.account.inject_faults(expired)))

    _use(stage.credentials())
    result = stage.target(tmp_path).train(Recorder())
    assert len(result.leaderboard) == TOTAL
    assert len(stage.jobs(tmp_path.name)) == 1


def test_throttling_for_thirty_seconds_is_survived(
    stage: EmulatedStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Records
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # or botocore's own retries would hide ours
    until = time.time() + 30
    actions = ("DescribeTrainingJob", "CreateTrainingJob", "ListTrainingJobs", "GetLogEvents")
    stage.account.inject_faults(
        *(_fault(action, "ThrottlingException", until=until) for action in actions)
    )

    result = stage.target(tmp_path).train(Recorder())

    assert time.time() > until
    assert len(result.leaderboard) == TOTAL
    assert ": ThrottlingException; trying again" in caplog.text
    assert len(stage.jobs(tmp_path.name)) == 1


def test_lost_network_is_survived(
    stage: EmulatedStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Records
) -> None:
    def disconnect() -> None:
        os.environ["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"
        Timer(5, lambda: os.environ.update(stage.account.environment)).start()

    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    credentials = stage.credentials()
    monkeypatch.setattr(
        type(stage.account),
        "environment",
        property(lambda account: {**credentials, "AWS_ENDPOINT_URL": account.address}),
    )

    result = stage.target(tmp_path).train(_Event(1, disconnect))

    assert len(result.leaderboard) == TOTAL
    assert ": Could not connect to the endpoint URL" in caplog.text


def test_network_that_stays_lost_is_reported(
    stage: EmulatedStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "RETRY_SECONDS", 1.0)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")

    def disconnect() -> None:
        os.environ["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"

    with pytest.raises(InfraError, match="Could not connect to the endpoint URL"):
        stage.target(tmp_path).train(_Event(1, disconnect))

    os.environ["AWS_ENDPOINT_URL"] = stage.account.address
    assert len(stage.target(tmp_path).train(Recorder()).leaderboard) == TOTAL
    assert len(stage.jobs(tmp_path.name)) == 1


# --- When a job starts ----------------------------------------------------------------------------


def test_quota_is_reported_with_what_to_do(stage: EmulatedStage, tmp_path: Path) -> None:
    message = (
        "The account-level service limit 'ml.m5.large for training job usage' is 0 Instances, with "
        "current utilization of 0 Instances and a request delta of 1 Instances."
    )
    fault = {**_fault("CreateTrainingJob", "ResourceLimitExceeded"), "message": message}
    stage.account.inject_faults(fault)

    with pytest.raises(InfraError) as refusal:
        stage.target(tmp_path).train(Recorder())

    line = str(refusal.value)
    assert line.startswith("CreateTrainingJob of training job house-prices-dev-train-")
    assert message in line
    assert line.endswith("request a quota increase in Service Quotas, or set another instance type")
    assert "\n" not in line
    stage.account.inject_faults()
    assert len(stage.target(tmp_path).train(Recorder()).leaderboard) == TOTAL


def test_denied_call_names_the_role(stage: EmulatedStage, tmp_path: Path) -> None:
    stage.account.inject_faults(_fault("CreateTrainingJob", "AccessDeniedException"))

    with pytest.raises(InfraError) as refusal:
        stage.target(tmp_path).train(Recorder())

    assert "the credentials are of arn:aws:sts::" in str(refusal.value)
    assert "the deploying role of house-prices-dev" in str(refusal.value)


def test_no_capacity_is_tried_twice_and_reported(
    stage: EmulatedStage, tmp_path: Path, caplog: Records
) -> None:
    stage.account.control_jobs(capacity=False)

    with pytest.raises(TrainingJobError, match="CapacityError: Unable to provision requested ML"):
        stage.target(tmp_path).train(Recorder())

    assert "starting it again" in caplog.text
    stage.account.control_jobs(capacity=True)
    assert len(stage.target(tmp_path).train(Recorder()).leaderboard) == TOTAL


def test_missing_image_is_reported(stage: EmulatedStage, tmp_path: Path) -> None:
    ecr, name = stage.account.client("ecr"), repository_name(stage.stage, Image.TRAIN)
    images = ecr.describe_images(repositoryName=name)["imageDetails"]
    ids = [{"imageDigest": image["imageDigest"]} for image in images]
    ecr.batch_delete_image(repositoryName=name, imageIds=ids)
    try:
        with pytest.raises(InfraError, match=r"run make build-and-push ARGS=train"):
            stage.target(tmp_path).train(Recorder())
    finally:
        put_image(stage.account, stage.stage, Image.TRAIN)


def test_missing_bucket_is_reported(
    stage: EmulatedStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = stage.target(tmp_path)
    request = target._prepare()
    gone = {**request.outputs, StackOutput.ARTIFACT_BUCKET: "house-prices-no-such-bucket"}
    monkeypatch.setattr(target._account, "outputs", lambda _stack: gone)

    with pytest.raises(StackError, match=r"s3://house-prices-no-such-bucket/data/"):
        target.train(Recorder())

    assert not stage.jobs(tmp_path.name)


def test_missing_secret_is_reported_with_its_name(
    stage: EmulatedStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "arn:aws:secretsmanager:us-east-1:123456789012:secret:NoSuchSecret-abcdef"
    target = stage.target(tmp_path)
    outputs = {**target._prepare().outputs, StackOutput.MLFLOW_TRAINING_SECRET: secret}
    monkeypatch.setattr(target._account, "outputs", lambda _stack: outputs)

    with pytest.raises(TrainingJobError) as failure:
        target.train(Recorder())

    assert f"secretsmanager:GetSecretValue of {secret}" in str(failure.value)
    assert "the job's role must be allowed to read the password" in str(failure.value)


def test_invalid_table_fails_once(stage: EmulatedStage, tmp_path: Path, caplog: Records) -> None:
    target = stage.target(tmp_path)
    (tmp_path / "train.csv").write_text("Id,SalePrice,Street\n1,2,Pave\n2,x,Pave\n3,4,Pave\n")

    with pytest.raises(TrainingJobError) as failure:
        target.train(Recorder())

    assert re.search(r"DataError: s3://\S+/train\.csv: ", str(failure.value))
    assert "starting it again" not in caplog.text
    assert len(stage.jobs(tmp_path.name)) == 1


def test_unknown_family_is_refused_before_a_job_is_started(
    stage: EmulatedStage, tmp_path: Path
) -> None:
    target = stage.target(tmp_path, training={"families": ["rigde"]})

    with pytest.raises(FamilyError, match="no family 'rigde'; there are ridge, "):
        target.train(Recorder())

    assert not stage.jobs(tmp_path.name)


def test_job_whose_creation_was_interrupted_can_be_stopped(
    stage: EmulatedStage, tmp_path: Path
) -> None:
    stage.account.inject_faults(_fault("CreateTrainingJob", "ValidationException"))
    target = stage.target(tmp_path)
    with pytest.raises(InfraError):
        target.train(Recorder())

    assert target.running_job.startswith("house-prices-dev-train-")
    target.stop_training()  # it may exist or not


# --- While a job runs -----------------------------------------------------------------------------


def test_stopped_forced_training_is_resumed_as_forced(stage: EmulatedStage, tmp_path: Path) -> None:
    target = stage.target(tmp_path)
    target.train(Recorder())
    second = target.start_training(force=True)
    TrainingJobs(target._account).stop(second.name)
    wait_until(lambda: stage.jobs(tmp_path.name)[1]["TrainingJobStatus"] == "Stopped", 60)

    result = target.train(Recorder())

    assert len(result.leaderboard) == TOTAL
    third = stage.jobs(tmp_path.name)[2]
    assert third["HyperParameters"] == {"force": "true"}
    assert third["Environment"][JobVariable.RESUME_ID] == second.name
    assert _runs(stage, tmp_path.name)[0] == ["FINISHED", "FINISHED"]


def test_spot_interruption_in_mid_grid_is_resumed(
    stage: EmulatedStage, tmp_path: Path, uninterrupted: Leaderboard, caplog: Records
) -> None:
    stage.account.control_jobs(interrupt_after=[3])
    spot = {**GRIDS, "training": {**GRIDS["training"], "spot": True}}

    result = stage.target(tmp_path, **spot).train(Recorder())

    assert leaderboard_of(result.as_json()) == uninterrupted
    assert result.already_tracked >= 3
    assert "the spot instances were interrupted; SageMaker starts the job again" in caplog.text
    (job,) = stage.jobs(tmp_path.name)
    saved = 1 - job["BillableTimeInSeconds"] / job["TrainingTimeInSeconds"]
    assert saved > 0.5
    assert f"; spot saved {saved:.0%}" in caplog.text
    assert job["StoppingCondition"] == {
        "MaxRuntimeInSeconds": 7200,
        "MaxWaitTimeInSeconds": 21_600,
    }
    parents, children = _runs(stage, tmp_path.name)
    assert parents == ["FINISHED"]
    assert children.count("FINISHED") == len(uninterrupted)
    assert set(children) <= {"FINISHED", "KILLED"}


def test_lost_instance_is_started_again_once_and_trains_the_rest(
    stage: EmulatedStage, tmp_path: Path, uninterrupted: Leaderboard, caplog: Records
) -> None:
    stage.account.control_jobs(interrupt_after=[4])
    target = stage.target(tmp_path, **GRIDS)
    # The table is in S3: on this machine it may change while the job runs.
    change = _Event(1, lambda: (tmp_path / "train.csv").write_text("changed"))

    result = target.train(change)

    assert leaderboard_of(result.as_json()) == uninterrupted
    assert result.already_tracked >= 4
    assert "InternalServerError: We encountered an internal error" in caplog.text
    first, second = stage.jobs(tmp_path.name)
    assert (first["TrainingJobStatus"], second["TrainingJobStatus"]) == ("Failed", "Completed")
    # Both together keep the time limit, and so the cost that was announced.
    limit = second["StoppingCondition"]["MaxRuntimeInSeconds"]
    assert limit == 7200 - first["TrainingTimeInSeconds"]
    assert _runs(stage, tmp_path.name)[0] == ["FINISHED"]


def test_killed_container_is_started_again_and_trains_the_rest(
    stage: EmulatedStage, tmp_path: Path, uninterrupted: Leaderboard, caplog: Records
) -> None:
    def kill() -> None:
        os.kill(stage.pid(stage.jobs(tmp_path.name)[-1]["TrainingJobName"]), signal.SIGKILL)

    result = stage.target(tmp_path, **GRIDS).train(_Event(2, kill))

    assert leaderboard_of(result.as_json()) == uninterrupted
    assert result.already_tracked >= 2
    assert "the training process was killed; the instance may be out of memory" in caplog.text
    assert _runs(stage, tmp_path.name)[0] == ["FINISHED"]


def test_tracking_server_may_be_away_for_a_minute(
    stage: EmulatedStage, tmp_path: Path, uninterrupted: Leaderboard
) -> None:
    def restart() -> None:
        stage.server.kill()
        Timer(60, stage.server.start).start()

    result = stage.target(tmp_path, **GRIDS).train(_Event(2, restart))

    assert leaderboard_of(result.as_json()) == uninterrupted
    assert len(stage.jobs(tmp_path.name)) == 1


def test_two_instances_share_the_combinations(
    stage: EmulatedStage, tmp_path: Path, uninterrupted: Leaderboard
) -> None:
    two = {**GRIDS, "training": {**GRIDS["training"], "instances": 2}}
    recorder = Recorder()

    result = stage.target(tmp_path, **two).train(recorder)

    assert leaderboard_of(result.as_json()) == uninterrupted
    assert len(recorder.entries) == len(uninterrupted)
    (job,) = stage.jobs(tmp_path.name)
    assert job["ResourceConfig"]["InstanceCount"] == 2
    metrics = {metric["MetricName"]: metric["Value"] for metric in job["FinalMetricDataList"]}
    assert metrics["tracked"] == len(uninterrupted)
    parents, children = _runs(stage, tmp_path.name)
    assert parents == ["FINISHED"]
    assert children == ["FINISHED"] * len(uninterrupted)


def test_one_of_two_instances_dies(
    stage: EmulatedStage, tmp_path: Path, uninterrupted: Leaderboard
) -> None:
    two = {**GRIDS, "training": {**GRIDS["training"], "instances": 2}}

    def kill() -> None:
        job = stage.jobs(tmp_path.name)[-1]["TrainingJobName"]
        os.kill(stage.pid(job, "algo-2"), signal.SIGKILL)

    result = stage.target(tmp_path, **two).train(_Start(kill))

    assert leaderboard_of(result.as_json()) == uninterrupted
    jobs = stage.jobs(tmp_path.name)
    assert [job["TrainingJobStatus"] for job in jobs][-1] == "Completed"
    assert len(jobs) <= 2
    assert _runs(stage, tmp_path.name)[0] == ["FINISHED"]


# --- The command ----------------------------------------------------------------------------------


def _environment(stage: EmulatedStage, folder: Path) -> dict[str, str]:
    return {
        **stage.credentials(),
        "STACK_SETTINGS": str(folder / "settings.toml"),
        "PATH": os.environ["PATH"],
    }


def _write_stage(stage: EmulatedStage, folder: Path) -> None:
    """Add the stage to the settings in a folder."""
    stage.target(folder)
    own = stage.stage.model_dump(exclude={"name", "project", "region", "account"})
    lines = [f"{name} = {_to_toml(value)}" for name, value in own.items()]
    text = "\n".join(
        [
            "[infra]",
            f'project = "{stage.stage.project}"',
            f'region = "{stage.stage.region}"',
            "[stages.dev]",
            *lines,
        ]
    )
    with (folder / "settings.toml").open("a") as file:
        file.write(f"\n{text}\n")


def _shorten(table: Path, rows: int) -> None:
    """Remove the last rows of a table."""
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-rows]))


def _to_toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool | int | float) else f'"{value}"'


@pytest.mark.parametrize("line", ["Uploading", "Starting job", "[1/6]", "Parity checked"])
def test_killed_command_started_again_doubles_nothing(
    stage: EmulatedStage, tmp_path: Path, line: str
) -> None:
    _write_stage(stage, tmp_path)
    environment = _environment(stage, tmp_path)
    _shorten(tmp_path / "train.csv", rows=len(line))  # a table that no other test has uploaded
    with make_process("train", "TARGET=aws", environment=environment) as process:
        assert process.stdout is not None
        output = ""
        for text in process.stdout:
            output += text
            if line in text:
                break
        else:
            pytest.fail(output)
        os.killpg(process.pid, signal.SIGKILL)

    target = stage.target(tmp_path)
    _shorten(tmp_path / "train.csv", rows=len(line))
    result = target.train(Recorder())

    assert len(result.leaderboard) == TOTAL
    (job,) = stage.jobs(tmp_path.name)
    assert job["TrainingJobStatus"] == "Completed"
    assert _runs(stage, tmp_path.name) == (["FINISHED"], ["FINISHED"] * TOTAL)


def test_detached_job_is_found_by_status_and_followed_later(
    stage: EmulatedStage, tmp_path: Path
) -> None:
    _write_stage(stage, tmp_path)
    environment = _environment(stage, tmp_path)
    arguments = ("train", "TARGET=aws", "ARGS=--detach --json")
    with make_process(*arguments, environment=environment) as process:
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    (job,) = stage.jobs(tmp_path.name)
    printed = json.loads(output[output.index("{\n") :])
    assert (printed["name"], printed["status"]) == (job["TrainingJobName"], "InProgress")

    with make_process("status", "TARGET=aws", environment=environment) as process:
        output, _ = process.communicate(timeout=60)

    assert process.returncode == 0, output
    assert job["TrainingJobName"] in output
    assert len(stage.target(tmp_path).train(Recorder()).leaderboard) == TOTAL
    assert len(stage.jobs(tmp_path.name)) == 1


@contextmanager
def _on_a_terminal(stage: EmulatedStage, folder: Path) -> Iterator[tuple[Any, int]]:
    """Run the command on a terminal, whose Ctrl-C and answers the test types."""
    own, terminal = pty.openpty()
    environment = _environment(stage, folder)
    with make_process("train", "TARGET=aws", environment=environment, stdin=terminal) as process:
        yield process, own
    os.close(own)
    os.close(terminal)


@pytest.mark.parametrize(("answer", "status"), [("y", "Stopped"), ("n", "Completed")])
def test_ctrl_c_asks_whether_to_stop_the_job(
    stage: EmulatedStage, tmp_path: Path, answer: str, status: str
) -> None:
    _write_stage(stage, tmp_path)
    lines: list[str] = []
    with _on_a_terminal(stage, tmp_path) as (process, terminal):
        reader = Thread(target=lambda: lines.extend(process.stdout), daemon=True)
        reader.start()
        _wait_for("[1/6]", lines)
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(1)
        os.write(terminal, f"{answer}\n".encode())
        process.wait(60)
        reader.join(10)

    output = "".join(lines)
    (job,) = stage.jobs(tmp_path.name)
    name = job["TrainingJobName"]
    assert f"Stop job {name}?" in output
    reason = "is stopping; what is tracked is kept" if answer == "y" else "continues; make train"
    assert f"Job {name} {reason}" in output
    deadline = time.monotonic() + 120
    while stage.jobs(tmp_path.name)[0]["TrainingJobStatus"] != status:
        assert time.monotonic() < deadline
        time.sleep(0.5)


def _wait_for(text: str, lines: list[str]) -> None:
    deadline = time.monotonic() + 120
    while not any(text in line for line in lines):
        assert time.monotonic() < deadline, "".join(lines)
        time.sleep(0.1)
