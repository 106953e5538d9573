"""The settings of a training job: a file in a channel, hyperparameters, hosts and a password."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.errors import SettingsError
from contract.settings.loader import Settings
from contract.training_job import JobVariable
from tests.emulator.account import emulated_account
from tests.training_job.container import lay_out, write_config
from training_job.folders import Folders
from training_job.job import PASSWORD_VARIABLE, read_cluster, read_password
from training_job.settings import load_job_settings, read_force


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Remove the variables that hyperparameters set."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(lay_out(tmp_path))


def _load(folders: Folders, **hyperparameters: Any) -> Settings:
    named = {name.replace("__", "."): value for name, value in hyperparameters.items()}
    return load_job_settings(folders, named)


def test_file_is_loaded_and_tables_are_those_of_the_channels(folders: Folders) -> None:
    settings = _load(folders)

    assert settings.data.label == "SalePrice"
    assert settings.find_copy("train.csv") == folders.base / "input/data/train"
    assert settings.find_copy("test_prices.csv") == folders.base / "input/data/test_labels"
    # What is stored locally is where SageMaker restores it.
    assert settings.root == folders.base / "checkpoints"


def test_settings_may_be_json(folders: Folders) -> None:
    channel = folders.base / "input/data/config"
    (channel / "settings.toml").unlink()
    data = {"train": "s3://bucket/train.csv", "label": "SalePrice"}
    (channel / "settings.json").write_text(json.dumps({"data": data}))
    for unused in ("test/test.csv", "test_labels/test_prices.csv"):
        (folders.base / "input/data" / unused).unlink()

    settings = _load(folders)

    assert settings.data.train == "s3://bucket/train.csv"
    assert settings.find_copy("s3://bucket/train.csv") == folders.base / "input/data/train"


def test_hyperparameters_override_settings(folders: Folders) -> None:
    settings = _load(
        folders, data__seed="7", training__families='["ridge"]', grids__ridge__alpha="[3]"
    )

    assert settings.data.seed == 7
    assert settings.training.families == ("ridge",)
    assert settings.grids["ridge"]["alpha"] == (3,)
    assert settings.data.label == "SalePrice"


def test_older_sdks_hyperparameters_are_ignored(folders: Folders) -> None:
    assert _load(folders, sagemaker_region="us-east-1").data.seed == 42


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("data__seed", "seven", "hyperparameter data.seed: input should be a valid integer"),
        ("data__seeds", "7", "hyperparameter data.seeds: unknown setting; did you mean seed?"),
        ("alpha", "1", "hyperparameter alpha: unknown; a setting is named like training.families"),
        ("data__seed", 7, "hyperparameter data.seed: expected a string"),
        ("training__families", "ridge", "can't be parsed; a list is written as JSON"),
        ("stag__e", "7", "unknown setting"),
    ],
)
def test_invalid_hyperparameter_is_refused_by_its_name(
    folders: Folders, name: str, value: object, message: str
) -> None:
    with pytest.raises(SettingsError) as refusal:
        _load(folders, **{name: value})

    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("value", "force"), [("true", True), ("false", False)])
def test_force_is_a_hyperparameter(value: str, force: bool) -> None:
    assert read_force({"force": value}) is force
    assert read_force({}) is False
    with pytest.raises(SettingsError, match="hyperparameter force: expected true or false"):
        read_force({"force": "yes"})


def test_missing_settings_are_reported(folders: Folders) -> None:
    (folders.base / "input/data/config/settings.toml").unlink()

    with pytest.raises(SettingsError, match=r"config: expected one file, settings\.json or"):
        _load(folders)


def test_missing_table_is_reported(folders: Folders) -> None:
    (folders.base / "input/data/test/test.csv").unlink()

    with pytest.raises(SettingsError, match=r"data\.test: test\.csv is not in the container"):
        _load(folders)


def test_channel_without_a_setting_is_refused(tmp_path: Path) -> None:
    folders = Folders(lay_out(tmp_path, data={"test": "", "test_labels": ""}))

    with pytest.raises(SettingsError, match=r"data\.test is empty, but there is a channel test"):
        _load(folders)


def test_hosts_are_those_of_the_resource_configuration(folders: Folders) -> None:
    hosts = {"current_host": "algo-2", "hosts": ["algo-1", "algo-2"]}
    write_config(folders.base, "resourceconfig", hosts)

    cluster = read_cluster(folders, {"TRAINING_JOB_NAME": "job-2", JobVariable.RESUME_ID: "job-1"})

    assert (cluster.resume_id, cluster.current_host) == ("job-1", "algo-2")
    assert cluster.peers == ("algo-2",)
    assert not cluster.is_leader


def test_container_without_sagemaker_is_one_host(folders: Folders) -> None:
    assert read_cluster(folders, {}).peers == ()


def test_password_is_that_of_the_secret_and_the_environment_stays_as_it_is(tmp_path: Path) -> None:
    with emulated_account(tmp_path) as account:
        os.environ.update(account.environment)
        secrets = account.client("secretsmanager")
        secret = secrets.create_secret(Name="training", SecretString="correct horse")["ARN"]

        assert read_password({JobVariable.PASSWORD_SECRET: secret}) == "correct horse"

    assert read_password({}) == ""
    assert PASSWORD_VARIABLE not in os.environ
