"""`make train TARGET=aws` on an emulated account, whose jobs really train."""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from contract.names import BucketPrefix, Image, StackOutput, repository_name
from contract.release_store import ReleaseStore
from contract.training_job import JobVariable
from tests.durability.trainings import leaderboard_of
from tests.endpoints.sagemaker.stage import TOTAL, EmulatedStage
from tests.helpers import Recorder, train_in_process
from tests.infra.test_roles import documented_actions

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("train")


def test_job_trains_tracks_and_releases_as_a_laptop_does(
    stage: EmulatedStage, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    target, recorder = stage.target(folder), Recorder()

    result = target.train(recorder)

    local = train_in_process(target.settings)
    assert leaderboard_of(result.as_json()) == leaderboard_of(local.as_json())
    assert result.test_metrics == pytest.approx(local.test_metrics, rel=1e-12)
    assert (recorder.total, len(recorder.entries)) == (TOTAL, TOTAL)
    # Costs before and after, and where the release is.
    text = caplog.text
    assert "at most 2 h, which costs at most about 0.23 USD" in text
    assert "billable seconds on 1 x ml.m5.large" in text
    assert "Released house-prices version 1" in text
    store = ReleaseStore(f"s3://{stage.bucket}/releases", "house-prices")
    manifest, _ = store.load_manifest("1")
    assert manifest.run_id == result.winner.run_id
    (job,) = stage.jobs(folder.name)
    assert manifest.images["train"] == job["AlgorithmSpecification"]["TrainingImage"][-71:]
    assert manifest.images["serve"].startswith("sha256:")
    assert manifest.git_commit


def test_request_names_network_keys_and_limits_and_no_secret(
    stage: EmulatedStage, folder: Path
) -> None:
    (job,) = stage.jobs(folder.name)
    outputs = stage.outputs

    key = outputs[StackOutput.DATA_KEY]
    assert job["ResourceConfig"]["VolumeKmsKeyId"] == key
    assert job["OutputDataConfig"]["KmsKeyId"] == key
    assert job["VpcConfig"] == {
        "Subnets": outputs[StackOutput.PRIVATE_SUBNETS].split(","),
        "SecurityGroupIds": [outputs[StackOutput.TRAINING_SECURITY_GROUP]],
    }
    assert job["RoleArn"] == outputs[StackOutput.TRAINING_ROLE]
    assert job["StoppingCondition"] == {"MaxRuntimeInSeconds": 7200}
    assert "@sha256:" in job["AlgorithmSpecification"]["TrainingImage"]
    secret = stage.account.client("secretsmanager").get_secret_value(
        SecretId=outputs[StackOutput.MLFLOW_TRAINING_SECRET]
    )["SecretString"]
    assert secret not in json.dumps(job, default=str)
    assert job["Environment"][JobVariable.PASSWORD_SECRET].startswith("arn:aws:secretsmanager:")
    tags = stage.account.client("sagemaker").list_tags(ResourceArn=job["TrainingJobArn"])["Tags"]
    assert {"Key": "stack", "Value": stage.stage.prefix} in tags


def test_metrics_of_the_job_are_those_of_the_training(stage: EmulatedStage, folder: Path) -> None:
    (job,) = stage.jobs(folder.name)
    metrics = {metric["MetricName"]: metric["Value"] for metric in job["FinalMetricDataList"]}

    assert metrics["tracked"] == TOTAL
    assert set(metrics) >= {"best_RMSE", "test_RMSE"}


def test_run_has_what_the_job_cost(stage: EmulatedStage, folder: Path) -> None:
    client = MlflowClient(stage.server.uri)
    experiment = client.get_experiment_by_name(folder.name)
    (parent,) = [
        run
        for run in client.search_runs([experiment.experiment_id])
        if "mlflow.parentRunId" not in run.data.tags
    ]

    assert parent.data.metrics["job_seconds"] > 0
    assert parent.data.metrics["job_cost_usd"] == pytest.approx(
        parent.data.metrics["job_seconds"] / 3600 * 0.115, rel=1e-6
    )


def test_image_in_use_never_expires(stage: EmulatedStage, folder: Path) -> None:
    (job,) = stage.jobs(folder.name)
    digest = job["AlgorithmSpecification"]["TrainingImage"].partition("@")[2]
    images = stage.account.client("ecr").describe_images(
        repositoryName=repository_name(stage.stage, Image.TRAIN),
        imageIds=[{"imageDigest": digest}],
    )["imageDetails"]

    assert any(tag.startswith("release-") for image in images for tag in image["imageTags"])


def test_data_is_uploaded_once_under_its_digest(stage: EmulatedStage, folder: Path) -> None:
    objects = stage.account.client("s3").list_objects_v2(
        Bucket=stage.bucket, Prefix=BucketPrefix.DATA
    )["Contents"]
    names = [entry["Key"].rpartition("/")[2] for entry in objects]

    assert sorted(names) == ["test.csv", "test_prices.csv", "train.csv"]


def test_finished_training_is_returned(
    stage: EmulatedStage, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    result = stage.target(folder).train(Recorder())

    (job,) = stage.jobs(folder.name)
    assert (
        f"Already trained on the same data, code and settings (job {job['TrainingJobName']})"
        in (caplog.text)
    )
    assert len(result.leaderboard) == TOTAL


def test_changed_setting_is_another_training(stage: EmulatedStage, folder: Path) -> None:
    one, other = stage.target(folder), stage.target(folder, data={"seed": 7})

    assert one._prepare().key != other._prepare().key
    # Where a job runs affects no result.
    bigger = stage.target(folder, training={"max_hours": 3, "volume_gb": 50})
    assert one._prepare().key == bigger._prepare().key


def test_force_trains_again_in_another_job(stage: EmulatedStage, folder: Path) -> None:
    recorder = Recorder()

    result = stage.target(folder).train(recorder, force=True)

    first, second = stage.jobs(folder.name)
    assert second["TrainingJobName"] == f"{first['TrainingJobName'][:-1]}2"
    assert recorder.already_tracked == 0
    assert len(result.leaderboard) == TOTAL
    store = ReleaseStore(f"s3://{stage.bucket}/releases", "house-prices")
    assert store.list_versions() == ["1", "2"]
    assert store.get_champion() == "1"


def test_prefix_in_s3_is_taken_as_it_is(stage: EmulatedStage, tmp_path: Path) -> None:
    target = stage.target(tmp_path)
    s3, prefix = stage.account.client("s3"), f"{BucketPrefix.DATA}houses/"
    for name in ("train.csv", "test.csv", "test_prices.csv"):
        s3.upload_file(str(tmp_path / name), stage.bucket, f"{prefix}{name}")
    base = f"s3://{stage.bucket}/{prefix}"
    tables = {"train": f"{base}train.csv", "test": f"{base}test.csv"}
    tables["test_labels"] = f"{base}test_prices.csv"

    result = stage.target(tmp_path, data=tables).train(Recorder())

    local = train_in_process(target.settings)
    assert leaderboard_of(result.as_json()) == leaderboard_of(local.as_json())


def test_every_call_was_made_by_a_role_that_the_docs_list_it_for(stage: EmulatedStage) -> None:
    roles = {
        "deploying": stage.outputs[StackOutput.DEPLOYING_ROLE],
        "training": stage.outputs[StackOutput.TRAINING_ROLE],
    }
    for role, arn in roles.items():
        called = {
            f"{call['service']}:{call['action']}"
            for call in stage.account.calls()
            if call["caller"] == arn and call["service"] != "sts"
        }
        assert len(called) > 3, role
        assert called <= documented_actions(role), role
