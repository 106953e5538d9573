"""The settings: settings.toml, overridden by the environment, read once and frozen.

A command calls `load` at its start and passes the result on; no other module reads the file or the
environment.
"""

import difflib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as UnreadableVariable

from contract.errors import SettingsError

PROJECT = Path(__file__).resolve().parents[1]
PREFIX = "STACK_"

ParamValue = bool | int | float | str | None
ParamGrid = Mapping[str, tuple[ParamValue, ...]]
"""The values to try of each hyperparameter: `{"alpha": (0.1, 1), "positive": (True, False)}`."""

MetricName = Literal["RMSE", "MAPE", "R2"]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSettings(_Table):
    """Where the tables are and what their columns mean."""

    train: str = Field(min_length=1)
    test: str = ""
    test_labels: str = ""
    label: str = Field(min_length=1)
    id: str = ""
    drop: tuple[str, ...] = ()
    missing: tuple[str, ...] = ("NA", "")
    validation_share: float = Field(default=0.2, gt=0, lt=1)
    seed: int = Field(default=42, ge=0, lt=2**31)
    codes: tuple[str, ...] = ()
    none_is_a_category: tuple[str, ...] = ()

    @field_validator("missing")
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


class FeatureSettings(_Table):
    """How missing numbers are imputed."""

    neighbours: int = Field(default=5, ge=1)
    max_donors: int = Field(default=1000, ge=1)


class TrainingSettings(_Table):
    """Which families compete, and on what."""

    experiment: str = Field(default="house-prices", min_length=1)
    families: tuple[str, ...] = Field(default=("ridge", "elasticnet", "xgboost"), min_length=1)
    metric: MetricName = "RMSE"


class TrackingSettings(_Table):
    """The MLflow store: a database's URI or a server's address."""

    uri: str = Field(default="sqlite:///.local/mlflow.db", min_length=1)
    run_id: str = ""
    """The run to train in, where `mlflow run` has made one; else a new one is made."""


class ReleaseSettings(_Table):
    """What releases are called and where they are kept."""

    model: str = Field(default="house-prices", pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,62}$")
    store: str = Field(default=".local/releases", min_length=1)


class ServingSettings(_Table):
    """How an endpoint answers."""

    endpoint: str = Field(default="prod-endpoint", pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,62}$")
    port: int = Field(default=8080, ge=1, le=65535)
    """Where the local endpoint listens."""
    workers: int = Field(default=0, ge=0, le=256)
    """Processes that answer; 0 is one for each processor."""
    log_requests: bool = True
    max_body_mb: float = Field(default=25, gt=0)
    body_seconds: float = Field(default=30, gt=0)
    """How long a client may take to send what it has announced."""


class _Tables(_Table):
    data: DataSettings
    features: FeatureSettings = FeatureSettings()
    training: TrainingSettings = TrainingSettings()
    grids: dict[str, dict[str, tuple[ParamValue, ...]]] = {}
    tracking: TrackingSettings = TrackingSettings()
    release: ReleaseSettings = ReleaseSettings()
    serving: ServingSettings = ServingSettings()


class Settings(BaseSettings, _Tables):
    """All settings. Environment variables named STACK_<TABLE>__<KEY> win over the file."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__")

    _file: Path = PrivateAttr(default=PROJECT / "settings.toml")

    @property
    def root(self) -> Path:
        """The folder of settings.toml: relative paths start here, and .local/ is in it."""
        return self._file.parent

    def path(self, setting: str) -> str:
        """Return a setting's path with the root in front where it is relative; URIs stay."""
        return setting if "://" in setting else str(self.root / _at_home(setting))

    @property
    def store_uri(self) -> str:
        """The tracking store's URI; a relative sqlite file is one in the root."""
        scheme, separator, name = self.tracking.uri.partition(":///")
        path = _at_home(name)
        return (
            f"sqlite:///{self.root / path}"
            if scheme == "sqlite" and separator
            else self.tracking.uri
        )

    @property
    def store_name(self) -> str:
        """The tracking URI as it may be shown: without a password."""
        return without_password(self.tracking.uri)

    @property
    def artifact_root(self) -> str:
        """Where runs of a local store keep their files, as a URI.

        MLflow's own default is a folder below wherever the command was started.
        """
        return (self.root / ".local" / "artifacts").as_uri()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file, whose content `load` passes to the constructor."""
        return env_settings, init_settings


def without_password(uri: str) -> str:
    """Return an address as it may be shown or stored: `http://me:***@host`."""
    return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:***@", uri)


def load(file: Path | None = None) -> Settings:
    """Read the settings of this process.

    Args:
        file: The TOML file; by default what STACK_SETTINGS names, else the project's settings.toml.

    Raises:
        SettingsError: The file is missing or no TOML; a key is unknown, mistyped or out of range.
    """
    file = (
        file or Path(os.environ.get(f"{PREFIX}SETTINGS") or PROJECT / "settings.toml")
    ).resolve()
    _refuse_unknown_variables()
    content = _read(file)
    try:
        _check_types(content)
        settings = Settings(**_with_mlflow_variables(content))
    except ValidationError as error:
        raise SettingsError(_explain(error, file)) from None
    except UnreadableVariable as error:
        field = str(error).split('"')[1] if '"' in str(error) else "a variable"
        reason = 'can\'t be read; a list is written as JSON, \'["a", "b"]\''
        raise SettingsError(f"environment: {PREFIX}{field.upper()}...: {reason}") from None
    settings._file = file
    return settings


class _ServingAlone(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__")

    serving: ServingSettings = ServingSettings()


def load_serving() -> ServingSettings:
    """Read the settings of a serving process, from the environment alone: an image has no file.

    Raises:
        SettingsError: A variable is mistyped or out of range.
    """
    try:
        return _ServingAlone().serving
    except ValidationError as error:
        raise SettingsError(_explain(error, Path("environment"))) from None
    except UnreadableVariable:
        raise SettingsError(f"environment: {PREFIX}SERVING: can't be read") from None


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{file}: no such file") from None
    except OSError as error:
        raise SettingsError(f"{file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file.name}: not readable as TOML: {error}") from None


def _check_types(content: dict[str, Any]) -> None:
    # The variables of the environment are text and so read leniently; the file has types, and in it
    # "5" is no number. Strict JSON is the mode in which a list may still become a tuple.
    try:
        _Tables.model_validate_json(json.dumps(content, default=str), strict=True)
    except ValidationError as error:
        if any(finding["type"] != "missing" for finding in error.errors()):
            raise


def _with_mlflow_variables(content: dict[str, Any]) -> dict[str, Any]:
    """Let MLflow's own variables, which `mlflow run` sets as well, win over the file."""
    tracking = dict(content.get("tracking") or {})
    for key, variable in (("uri", "MLFLOW_TRACKING_URI"), ("run_id", "MLFLOW_RUN_ID")):
        if value := os.environ.get(variable):
            tracking[key] = value
    return {**content, "tracking": tracking}


def _refuse_unknown_variables() -> None:
    known = set(Settings.model_fields)
    for name in sorted(os.environ):
        table = name.removeprefix(PREFIX).split("__")[0].lower()
        # Other programs have variables of this prefix too, but none with the double underscore.
        if name.startswith(PREFIX) and "__" in name and table not in known:
            raise SettingsError(f"environment: {name}: unknown setting{_suggest(table, known)}")


def _explain(error: ValidationError, file: Path) -> str:
    """Put the first of pydantic's findings into one line that names the key."""
    # A mistyped key is reported as unknown and as missing: the first of the two says what to mend.
    first, *others = sorted(error.errors(), key=lambda finding: finding["type"] == "missing")
    parts = [str(part) for part in first["loc"] if part not in {"str", "int", "float", "bool"}]
    key = ".".join(parts)
    variable = PREFIX + "__".join(parts).upper()
    where = f"environment: {variable}" if variable in os.environ else f"{file.name}: {key}"
    if first["type"] == "extra_forbidden":
        reason = "unknown setting" + _suggest(parts[-1], _siblings(parts[:-1]))
    else:
        reason = f"{first['msg'][0].lower()}{first['msg'][1:]}, not {first['input']!r:.80}"
        reason = "is not set" if first["type"] == "missing" else reason
    return f"{where}: {reason}" + (f" (and {len(others)} more)" if others else "")


def _at_home(path: str) -> str:
    # Not Path's: that one raises where there is no such user.
    return os.path.expanduser(path)  # noqa: PTH111


def _siblings(parents: list[str]) -> set[str]:
    fields = Settings.model_fields
    for parent in parents:
        model = fields[parent].annotation
        fields = (
            model.model_fields if isinstance(model, type) and issubclass(model, BaseModel) else {}
        )
    return set(fields)


def _suggest(word: str, known: set[str]) -> str:
    close = difflib.get_close_matches(word, sorted(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
