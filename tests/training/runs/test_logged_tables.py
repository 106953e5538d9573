"""Tables that are too large to be copied into the artifacts are read again from S3."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from mlflow import MlflowClient

from contract.errors import ReleaseError
from contract.release import Release
from contract.settings.loader import Settings, load_settings
from tests.helpers import train_in_process, write_settings
from training.data.dataset import split
from training.release import release
from training.result import TrainingResult
from training.runs import logged_tables
from training.runs.logged_tables import TABLES_FILE
from training.runs.tags import DATA_DIGEST_TAG, TEST_DIGEST_TAG

TABLES = {"train": "train.csv", "test": "test.csv", "test_labels": "test_prices.csv"}
COPIES = {"train.csv", "val.csv", "test.csv"}


@pytest.fixture
def in_s3(folder: Path, bucket: str) -> Settings:
    """Settings whose tables are in S3."""
    upload(folder, bucket)
    write_settings(
        folder, data={key: f"s3://{bucket}/{folder.name}/{name}" for key, name in TABLES.items()}
    )
    return load_settings(folder / "settings.toml")


@pytest.fixture
def _small_limit() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logged_tables, "MAX_COPIED_BYTES", 10_000)
        yield


small_limit = pytest.mark.usefixtures("_small_limit")


def upload(folder: Path, bucket: str) -> None:
    for name in TABLES.values():
        boto3.client("s3").upload_file(str(folder / name), bucket, f"{folder.name}/{name}")


def list_artifacts(settings: Settings, result: TrainingResult) -> set[str]:
    client = MlflowClient(settings.tracking_uri)
    return {artifact.path for artifact in client.list_artifacts(result.parent_run_id)}


def load_artifact(settings: Settings, result: TrainingResult, name: str) -> Any:
    client = MlflowClient(settings.tracking_uri)
    return json.loads(Path(client.download_artifacts(result.parent_run_id, name)).read_text())


def compare(released: Release) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Return the files and the manifest, without what differs between any two releases."""
    own = {"MLmodel", "model_card.md"}  # with the ids of the run and the time of the release
    files = {name: content for name, content in released.files.items() if name not in own}
    manifest = released.manifest.model_dump(exclude={"version", "created_at", "run_id", "files"})
    return files, manifest


@small_limit
def test_large_tables_are_logged_by_address_and_digest(in_s3: Settings, folder: Path) -> None:
    result = train_in_process(in_s3)

    artifacts = list_artifacts(in_s3, result)
    assert artifacts >= {TABLES_FILE, "settings.json", "leaderboard.json"}
    assert not artifacts & COPIES
    tables = load_artifact(in_s3, result, TABLES_FILE)
    run = MlflowClient(in_s3.tracking_uri).get_run(result.parent_run_id)
    assert [table["rows"] for table in tables.values()] == [160, 40, 50]
    assert tables["train"]["sources"] == tables["val"]["sources"] == [in_s3.data.train]
    assert tables["train"]["digest"] == run.data.tags[DATA_DIGEST_TAG]
    assert tables["train"]["size"] == (folder / "train.csv").stat().st_size
    assert tables["test"]["sources"] == [in_s3.data.test, in_s3.data.test_labels]
    assert tables["test"]["digest"] == run.data.tags[TEST_DIGEST_TAG]
    data = load_artifact(in_s3, result, "settings.json")["data"]
    assert (data["seed"], data["validation_fraction"]) == (42, 0.2)


def test_release_is_the_same_with_and_without_copies(
    in_s3: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_copies = train_in_process(in_s3)
    of_copies = release(in_s3)
    monkeypatch.setattr(logged_tables, "MAX_COPIED_BYTES", 10_000)
    without_copies = train_in_process(in_s3, force=True)

    of_sources = release(in_s3)

    assert list_artifacts(in_s3, with_copies) & (COPIES | {TABLES_FILE}) == COPIES
    assert list_artifacts(in_s3, without_copies) & (COPIES | {TABLES_FILE}) == {TABLES_FILE}
    assert of_sources.manifest.run_id == without_copies.winner.run_id
    assert compare(of_sources) == compare(of_copies)


@small_limit
def test_downloaded_tables_are_read_instead_of_s3(
    in_s3: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a training job, whose tables SageMaker has downloaded."""
    copies = {}
    for key, name in TABLES.items():
        (folder / key).mkdir()
        (folder / name).rename(folder / key / name)
        copies[getattr(in_s3.data, key)] = folder / key
    settings = in_s3.with_copies(copies)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # no S3 responds there
    train_in_process(settings)

    assert release(settings).manifest.test_metrics


@small_limit
def test_large_local_tables_are_copied(settings: Settings) -> None:
    result = train_in_process(settings)

    assert list_artifacts(settings, result) & (COPIES | {TABLES_FILE}) == COPIES


@small_limit
@pytest.mark.parametrize(
    ("key", "name"), [("train", "training"), ("test", "test"), ("test_labels", "test")]
)
def test_changed_table_is_not_released(
    in_s3: Settings, folder: Path, bucket: str, key: str, name: str
) -> None:
    train_in_process(in_s3)
    rows = (folder / TABLES[key]).read_text().splitlines(keepends=True)
    (folder / TABLES[key]).write_text("".join([*rows[:-1], rows[-1].replace("0", "1")]))
    upload(folder, bucket)

    with pytest.raises(ReleaseError) as error:
        release(in_s3)

    message = str(error.value)
    assert getattr(in_s3.data, key) in message
    assert f"the {name} table has changed since it was trained on (sha256 " in message
    assert message.endswith("restore it, or train again")
    assert "\n" not in message


@small_limit
def test_lost_table_is_reported_in_one_line(in_s3: Settings, folder: Path, bucket: str) -> None:
    train_in_process(in_s3)
    boto3.client("s3").delete_object(Bucket=bucket, Key=f"{folder.name}/train.csv")

    with pytest.raises(ReleaseError, match=r"read again: s3://.*train\.csv: no such file") as error:
        release(in_s3)
    assert "\n" not in str(error.value)


@small_limit
def test_other_split_is_not_released(in_s3: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release's validation metrics must not be those of rows that the model was fitted on."""
    train_in_process(in_s3)

    def split_differently(data: Any, settings: Settings) -> Any:
        other = settings.data.model_copy(update={"seed": 1})
        return split(data, settings.model_copy(update={"data": other}))

    monkeypatch.setattr(logged_tables, "split", split_differently)
    with pytest.raises(ReleaseError, match="its train rows are no longer those of the training"):
        release(in_s3)
