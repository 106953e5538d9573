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
from typing import Any

from pydantic import BaseModel, Field, PrivateAttr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as UnreadableVariable

from contract.errors import SettingsError
from contract.stage import Stage
from contract.tables import (
    DataSettings,
    FeatureSettings,
    ParamValue,
    ReleaseSettings,
    ServingSettings,
    Table,
    TrackingSettings,
    TrainingSettings,
)

PROJECT = Path(__file__).resolve().parents[1]
PREFIX = "STACK_"


class _Tables(Table):
    data: DataSettings
    features: FeatureSettings = FeatureSettings()
    training: TrainingSettings = TrainingSettings()
    grids: dict[str, dict[str, tuple[ParamValue, ...]]] = Field(default_factory=dict)
    tracking: TrackingSettings = TrackingSettings()
    release: ReleaseSettings = ReleaseSettings()
    serving: ServingSettings = ServingSettings()
    stage: str = "dev"
    """The one that commands act on, where they act on AWS."""
    infra: dict[str, Any] = Field(default_factory=dict)
    stages: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Both are checked by `of_stage`: who only trains on a laptop needs none of it."""


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

    def of_stage(self, name: str = "") -> Stage:
        """Return a stage's settings; by default of the one that `stage` names.

        Raises:
            SettingsError: There is no such stage, one of its keys is unknown, mistyped or out of
                range, or it would clash with another one.
        """
        name = name or self.stage
        if name not in self.stages:
            known = ", ".join(self.stages) or "none"
            reason = f"no such stage (there are: {known}){_suggest(name, set(self.stages))}"
            raise SettingsError(f"{self._file.name}: stages.{name}: {reason}")
        stage = self._stage(name)
        for other, own in self.stages.items():
            # As written: another stage need not be complete yet.
            place = {"account": "", **self.infra, **own}
            if other != name and all(
                place.get(key) == getattr(stage, key) for key in ("account", "region", "endpoint")
            ):
                reason = f"stages.{name} and stages.{other} have the same endpoint"
                raise SettingsError(f"{self._file.name}: {reason}, {stage.endpoint}")
        return stage

    def _stage(self, name: str) -> Stage:
        own = self.stages[name]
        try:
            return Stage(**{**self.infra, **own, "name": name})
        except ValidationError as error:
            raise SettingsError(_explain_stage(error, self._file.name, name, own)) from None

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


def _explain_stage(error: ValidationError, file: str, name: str, own: Mapping[str, Any]) -> str:
    """Put the first of pydantic's findings on a stage into one line that names its key."""
    first = error.errors()[0]
    key = str(first["loc"][0]) if first["loc"] else ""
    where = f"{file}: {f'stages.{name}' if not key or key in own else 'infra'}"
    if not key:  # of several keys, and the message begins with the one to mend
        return f"{where}.{first['msg'].removeprefix('Value error, ')}"
    where += f".{key}"
    if first["type"] == "extra_forbidden":
        return f"{where}: unknown setting{_suggest(key, set(Stage.model_fields))}"
    if first["type"] == "missing":
        return f"{where}: is not set"
    reason = first["msg"].removeprefix("Value error, ")
    if first["type"] == "string_pattern_mismatch":
        reason = f"one would be {' or '.join(Stage.model_fields[key].examples or ())}"
    return f"{where}: {reason[0].lower()}{reason[1:]}, not {first['input']!r}"


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
