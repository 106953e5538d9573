"""The sections of settings.toml: their keys, types and defaults."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

ParamValue = bool | int | float | str | None
ParamGrid = Mapping[str, tuple[ParamValue, ...]]
"""The values to try of each hyperparameter: `{"alpha": (0.1, 1), "positive": (True, False)}`."""

MetricName = Literal["RMSE", "MAPE", "R2"]
MAX_TRAINING_HOURS = 120
"""The longest time limit of a training job; the deploying role permits no longer one."""


class SettingsSection(BaseModel):
    """A section of settings.toml: frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSettings(SettingsSection):
    """The tables and the meaning of their columns."""

    train: str = Field(min_length=1)
    """The training table: a file or a folder of files, as a path or an `s3://` URI."""
    test: str = ""
    """The test table, or empty for none."""
    test_labels: str = ""
    """The table with the labels of the test rows, or empty if the test table has them."""
    label: str = Field(min_length=1)
    """The column to predict, which is numeric."""
    id: str = ""
    """The column that identifies a row, or empty for none; it is not a feature."""
    drop: tuple[str, ...] = ()
    """Columns to exclude."""
    missing_values: tuple[str, ...] = ("NA", "")
    """The strings that mark a missing value."""
    validation_fraction: float = Field(default=0.2, gt=0, lt=1)
    """The share of the training table's rows that models are compared on."""
    seed: int = Field(default=42, ge=0, lt=2**31)
    """The random seed of the split, of the donor rows and of the models."""
    categorical: tuple[str, ...] = ()
    """Numeric columns to treat as categorical."""
    missing_as_category: tuple[str, ...] = ()
    """Text columns in which a missing value is a category of its own."""

    @field_validator("missing_values")
    @classmethod
    def _refuse_numbers(cls, markers: tuple[str, ...]) -> tuple[str, ...]:
        # A model also predicts on tables that other code has parsed, in which -999 is a number.
        for marker in markers:
            try:
                float(marker)
            except ValueError:
                continue
            if marker.lower() != "nan":
                raise ValueError(f"a number can't mark a missing value: {marker}")
        return markers


class FeatureSettings(SettingsSection):
    """The imputation of missing numbers by k nearest neighbors."""

    n_neighbors: int = Field(default=5, ge=1)
    """The number of neighbors whose mean replaces a missing number."""
    max_donors: int = Field(default=1000, ge=1)
    """The number of training rows to search for neighbors; more make predictions slower."""


class TrainingSettings(SettingsSection):
    """The model families to compare, and the metric."""

    experiment: str = Field(default="house-prices", min_length=1)
    """The name of the MLflow experiment."""
    families: tuple[str, ...] = Field(default=("ridge", "elasticnet", "xgboost"), min_length=1)
    """The model families to train, as named in training/families."""
    metric: MetricName = "RMSE"
    """The validation metric that selects the winner: RMSE or MAPE (lowest), R2 (highest)."""

    instances: int = Field(default=1, ge=1, le=20)
    """The number of instances of a training job on SageMaker, which share the combinations."""
    volume_gb: int = Field(default=30, ge=1, le=16_384)
    """The size of each instance's volume, in GB."""
    max_hours: float = Field(default=2, gt=0, le=MAX_TRAINING_HOURS)
    """The time limit of a training job, in hours."""
    spot: bool = False
    """Whether a training job uses spot instances, which are cheaper and may be interrupted."""
    max_wait_hours: float = Field(default=6, gt=0, le=240)
    """The time limit of a spot job, in hours: waiting for instances, and training."""

    @model_validator(mode="after")
    def _check_limits(self) -> "TrainingSettings":
        if self.spot and self.max_wait_hours < self.max_hours:
            reason = f"{self.max_wait_hours:g} is less than max_hours, {self.max_hours:g}"
            raise ValueError(f"training.max_wait_hours: {reason}")
        return self


class TrackingSettings(SettingsSection):
    """The MLflow tracking store."""

    uri: str = Field(default="sqlite:///.local/mlflow.db", min_length=1)
    """The URI of a database or the address of an MLflow server."""
    run_id: str = ""
    """The run to train in, which `mlflow run` creates; if empty, a new run is created."""


class ReleaseSettings(SettingsSection):
    """The name of the releases and where they are stored."""

    model: str = Field(default="house-prices", pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,62}$")
    """The model's name in MLflow's registry and in the release store."""
    store: str = Field(default=".local/releases", min_length=1)
    """The release store: a folder or an `s3://` URI."""


class ServingSettings(SettingsSection):
    """The endpoint and its server."""

    endpoint: str = Field(default="prod-endpoint", pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,62}$")
    """The name of the local endpoint."""
    port: int = Field(default=8080, ge=1, le=65535)
    """The port of the local endpoint, on 127.0.0.1."""
    workers: int = Field(default=0, ge=0, le=256)
    """The number of worker processes; 0 is one per CPU."""
    log_requests: bool = True
    """Whether to log one line of JSON per request: status, rows, milliseconds; never the data."""
    max_body_mb: float = Field(default=25, gt=0)
    """The largest accepted request body, in MB."""
    body_timeout_seconds: float = Field(default=30, gt=0)
    """How long a client may take to send the body of a request, in seconds."""
