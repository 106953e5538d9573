"""The tables of settings.toml: their keys, types and defaults."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

ParamValue = bool | int | float | str | None
ParamGrid = Mapping[str, tuple[ParamValue, ...]]
"""The values to try of each hyperparameter: `{"alpha": (0.1, 1), "positive": (True, False)}`."""

MetricName = Literal["RMSE", "MAPE", "R2"]


class SettingsSection(BaseModel):
    """A table of settings.toml: frozen, and no key is unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSettings(SettingsSection):
    """Where the tables are and what their columns mean."""

    train: str = Field(min_length=1)
    test: str = ""
    test_labels: str = ""
    label: str = Field(min_length=1)
    id: str = ""
    drop: tuple[str, ...] = ()
    missing_values: tuple[str, ...] = ("NA", "")
    validation_fraction: float = Field(default=0.2, gt=0, lt=1)
    seed: int = Field(default=42, ge=0, lt=2**31)
    categorical: tuple[str, ...] = ()
    missing_as_category: tuple[str, ...] = ()

    @field_validator("missing_values")
    @classmethod
    def _refuse_numbers(cls, markers: tuple[str, ...]) -> tuple[str, ...]:
        # A model is asked with tables that someone else read, in which -999 is a number.
        for marker in markers:
            try:
                float(marker)
            except ValueError:
                continue
            if marker.lower() != "nan":
                raise ValueError(f"a number can't stand for a missing value: {marker}")
        return markers


class FeatureSettings(SettingsSection):
    """How missing numbers are imputed."""

    n_neighbors: int = Field(default=5, ge=1)
    max_donors: int = Field(default=1000, ge=1)


class TrainingSettings(SettingsSection):
    """Which families compete, and on what."""

    experiment: str = Field(default="house-prices", min_length=1)
    families: tuple[str, ...] = Field(default=("ridge", "elasticnet", "xgboost"), min_length=1)
    metric: MetricName = "RMSE"


class TrackingSettings(SettingsSection):
    """The MLflow store: a database's URI or a server's address."""

    uri: str = Field(default="sqlite:///.local/mlflow.db", min_length=1)
    run_id: str = ""
    """The run to train in, where `mlflow run` has made one; else a new one is made."""


class ReleaseSettings(SettingsSection):
    """What releases are called and where they are kept."""

    model: str = Field(default="house-prices", pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,62}$")
    store: str = Field(default=".local/releases", min_length=1)


class ServingSettings(SettingsSection):
    """How an endpoint answers."""

    endpoint: str = Field(default="prod-endpoint", pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,62}$")
    port: int = Field(default=8080, ge=1, le=65535)
    """Where the local endpoint listens."""
    workers: int = Field(default=0, ge=0, le=256)
    """Processes that answer; 0 is one for each processor."""
    log_requests: bool = True
    max_body_mb: float = Field(default=25, gt=0)
    body_timeout_seconds: float = Field(default=30, gt=0)
    """How long a client may take to send what it has announced."""
