"""Loading settings.toml: defaults, environment variables, and messages of invalid settings."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from contract.errors import SettingsError
from contract.paths import PROJECT_ROOT
from contract.settings.loader import load_settings
from tests.helpers import write_settings


def test_project_settings_are_loaded_and_frozen() -> None:
    settings = load_settings()

    assert settings.data.label == "SalePrice"
    assert len(settings.data.missing_as_category) == 14
    assert settings.root == PROJECT_ROOT
    with pytest.raises(ValidationError):
        settings.data.label = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"labl": "x"}}, "data.labl: unknown setting; did you mean label?"),
        ({"trainingg": {"seed": 1}}, "trainingg: unknown setting; did you mean training?"),
        ({"data": {"seed": "42"}}, "data.seed: input should be a valid integer, not '42'"),
        ({"data": {"seed": 1.5}}, "data.seed: input should be a valid integer"),
        (
            {"data": {"validation_fraction": 1.5}},
            "data.validation_fraction: input should be less than 1",
        ),
        (
            {"data": {"categorical": "MSSubClass"}},
            "data.categorical: input should be a valid array",
        ),
        (
            {"data": {"missing_values": ["-999"]}},
            "data.missing_values: a number can't mark a missing value: -999",
        ),
        ({"features": {"n_neighbors": 0}}, "features.n_neighbors: input should be greater than"),
        (
            {"training": {"metric": "MAE"}},
            "training.metric: input should be 'RMSE', 'MAPE' or 'R2'",
        ),
        ({"training": {"families": []}}, "training.families: "),
        ({"grids__ridge": {"alpha": 3}}, "grids.ridge.alpha: input should be a valid array, not 3"),
    ],
)
def test_invalid_setting_is_reported_in_one_line_with_its_key(
    tmp_path: Path, changes: dict[str, dict[str, object]], message: str
) -> None:
    file = write_settings(tmp_path, **changes)

    with pytest.raises(SettingsError) as caught:
        load_settings(file)

    assert str(caught.value).startswith(f"settings.toml: {message}")
    assert "\n" not in str(caught.value)


def test_missing_key_is_reported(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text('[data]\ntrain = "a.csv"')

    with pytest.raises(SettingsError, match=r"data\.label: is not set"):
        load_settings(tmp_path / "settings.toml")


def test_invalid_toml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("[data\n")

    with pytest.raises(SettingsError, match="not valid TOML"):
        load_settings(tmp_path / "settings.toml")
    with pytest.raises(SettingsError, match="no such file"):
        load_settings(tmp_path / "other.toml")


def test_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_settings(tmp_path)
    monkeypatch.setenv("STACK_DATA__LABEL", "Price")
    monkeypatch.setenv("STACK_FEATURES__N_NEIGHBORS", "7")
    monkeypatch.setenv("STACK_TRAINING__FAMILIES", '["xgboost", "ridge"]')
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5999")

    settings = load_settings(file)

    assert settings.data.label == "Price"
    assert settings.data.id == "Id"  # the other keys of the section are unchanged
    assert settings.features.n_neighbors == 7
    assert settings.training.families == ("xgboost", "ridge")
    assert settings.tracking_uri == "http://127.0.0.1:5999"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("STACK_DATA__LABL", "x", "environment: STACK_DATA__LABL: unknown setting; did you mean"),
        ("STACK_DTA__LABEL", "x", "environment: STACK_DTA__LABEL: unknown setting; did you mean"),
        (
            "STACK_FEATURES__N_NEIGHBORS",
            "x",
            "environment: STACK_FEATURES__N_NEIGHBORS: input should",
        ),
        (
            "STACK_DATA__CATEGORICAL",
            "a,b",
            "environment: STACK_DATA...: can't be parsed; a list is written",
        ),
    ],
)
def test_invalid_variable_is_reported_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    file = write_settings(tmp_path)
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError) as caught:
        load_settings(file)

    assert str(caught.value).startswith(message)


def test_variables_of_other_programs_are_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_settings(tmp_path)
    monkeypatch.setenv("STACK_ROOT", "/somewhere")  # Haskell's

    assert load_settings(file).data.id == "Id"


def test_relative_paths_are_relative_to_the_settings_file(tmp_path: Path) -> None:
    settings = load_settings(write_settings(tmp_path))

    assert settings.resolve_path("data/train.csv") == str(tmp_path / "data/train.csv")
    assert settings.resolve_path("s3://bucket/train.csv") == "s3://bucket/train.csv"
    assert settings.tracking_uri == f"sqlite:///{tmp_path}/.local/mlflow.db"
