"""A table that is too large for a stage's instances is refused before anything is created."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from aws.account import AwsAccount
from contract.errors import SettingsError
from contract.names import BucketPrefix
from endpoints.sagemaker import sizing
from endpoints.sagemaker.sizing import TableShape
from endpoints.sagemaker.table_shape import measure_table
from endpoints.sagemaker.tables import find_tables
from tests.endpoints.sagemaker.stage import EmulatedStage
from tests.helpers import Recorder

pytestmark = pytest.mark.timeout(300)
CHANGES = {"CreateTrainingJob", "PutObject", "CreateMultipartUpload", "PutImage"}


def changes(stage: EmulatedStage) -> list[dict[str, str]]:
    return [call for call in stage.account.calls() if call["action"] in CHANGES]


def upload(stage: EmulatedStage, folder: Path, prefix: str) -> dict[str, str]:
    """Upload the tables; return the settings that name them."""
    s3, tables = stage.account.client("s3"), {}
    for key, name in (("train", "train"), ("test", "test"), ("test_labels", "test_prices")):
        s3.upload_file(str(folder / f"{name}.csv"), stage.bucket, f"{prefix}{name}.csv")
        tables[key] = f"s3://{stage.bucket}/{prefix}{name}.csv"
    return tables


@pytest.fixture
def large_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the 250 rows x 81 columns of the tests need 28 GiB."""
    monkeypatch.setattr(sizing, "BASE_BYTES", 0)
    monkeypatch.setattr(sizing, "BYTES_PER_COLUMN", 0)
    monkeypatch.setattr(sizing, "BYTES_PER_CELL", 20 * 2**30 * 0.9 / (250 * 81))
    monkeypatch.setattr(sizing, "BYTES_PER_CELL_AND_COPY", 0)
    monkeypatch.setattr(sizing, "MARGIN", 1.4)


@pytest.mark.usefixtures("large_cells")
@pytest.mark.parametrize("place", ["local", "s3"])
def test_table_that_needs_more_memory_is_refused_before_anything_is_created(
    stage: EmulatedStage, tmp_path: Path, place: str
) -> None:
    target = stage.target(tmp_path)
    name = "train.csv"
    if place == "s3":
        tables = upload(stage, tmp_path, f"{BucketPrefix.DATA}too-large/")
        target, name = stage.target(tmp_path, data=tables), tables["train"]
    before = changes(stage)

    with pytest.raises(SettingsError) as error:
        target.train(Recorder())

    assert str(error.value) == (
        f"stages.dev.training_instance_type: training on {name} (250 rows x 81 columns) needs "
        "28 GiB of memory, and ml.m5.large has 8 GiB; set ml.m5.2xlarge, which has 32 GiB; "
        "nothing was changed"
    )
    assert changes(stage) == before
    assert stage.jobs(tmp_path.name) == []


@pytest.mark.usefixtures("large_cells")
def test_table_that_no_instance_has_memory_for_is_refused(
    stage: EmulatedStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizing, "MARGIN", 1000)

    with pytest.raises(SettingsError, match=r"no instance type has that much: train on fewer rows"):
        stage.target(tmp_path).start_training()


def test_tables_larger_than_the_volume_are_refused(
    stage: EmulatedStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizing, "RESERVED_STORAGE_GB", 2)
    monkeypatch.setattr("endpoints.sagemaker.capacity.RESERVED_STORAGE_GB", 1.4)
    before = changes(stage)

    with pytest.raises(SettingsError) as error:
        stage.target(tmp_path, training={"volume_gb": 1}).train(Recorder())

    assert str(error.value) == (
        "training.volume_gb: 1 GB are too few for the tables and models, 1.4 GB; set 2 or more; "
        "nothing was changed"
    )
    assert changes(stage) == before


def write_large(folder: Path) -> pd.DataFrame:
    """Replace the training table by one of 1.3 MB, in which some texts have line breaks."""
    rows = pd.read_csv(folder / "train.csv", keep_default_na=False)
    rows = pd.concat([rows] * 20, ignore_index=True)
    rows["Id"] = range(len(rows))
    rows["note"] = ["two\nlines" if number % 3 else "-" for number in range(len(rows))]
    rows.to_csv(folder / "train.csv", index=False)
    return rows


def measure(stage: EmulatedStage, folder: Path, **data: Any) -> TableShape:
    target = stage.target(folder, data=data)
    write_large(folder)
    account = AwsAccount(stage.stage)
    return measure_table(find_tables(target.settings, account, stage.bucket)[0], account)


def test_rows_in_s3_are_estimated_from_a_part(stage: EmulatedStage, tmp_path: Path) -> None:
    stage.target(tmp_path)  # writes the tables
    rows = write_large(tmp_path)
    data = upload(stage, tmp_path, f"{BucketPrefix.DATA}large/")

    shape = measure(stage, tmp_path, **data)

    assert shape.rows == pytest.approx(len(rows), rel=0.01)
    assert (shape.columns, shape.is_exact) == (82, False)
    gets = [call for call in stage.account.calls() if call["action"] == "GetObject"]
    assert gets


def test_objects_of_a_prefix_are_estimated_from_the_largest(
    stage: EmulatedStage, tmp_path: Path
) -> None:
    stage.target(tmp_path)
    rows = write_large(tmp_path)
    s3, prefix = stage.account.client("s3"), f"{BucketPrefix.DATA}parts/"
    for number, count in enumerate((1000, 2000, 1000)):
        file = tmp_path / f"{number}.parquet"
        rows.sample(count, random_state=number).to_parquet(file)
        s3.upload_file(str(file), stage.bucket, f"{prefix}{file.name}")

    shape = measure(stage, tmp_path, train=f"s3://{stage.bucket}/{prefix}")

    assert shape.rows == pytest.approx(4000, rel=0.2)
    assert (shape.columns, shape.is_exact) == (83, False)  # with the index
    exact = measure(stage, tmp_path, train=f"s3://{stage.bucket}/{prefix}1.parquet")
    assert exact == TableShape(2000, 83)
