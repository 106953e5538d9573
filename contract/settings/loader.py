"""Load settings.toml, overridden by environment variables, into a frozen object.

Every command calls `load_settings` once and passes the result on; no other module reads the file or
the environment.
"""

import json
import logging
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as UnreadableVariable

from contract.errors import SettingsError
from contract.paths import PROJECT_ROOT
from contract.settings.messages import ENV_PREFIX, explain, explain_stage, suggest
from contract.settings.sections import (
    DataSettings,
    FeatureSettings,
    ParamValue,
    ReleaseSettings,
    ServingSettings,
    SettingsSection,
    TrackingSettings,
    TrainingSettings,
)
from contract.settings.stage import Stage

logger = logging.getLogger(__name__)


class _Sections(SettingsSection):
    data: DataSettings
    features: FeatureSettings = FeatureSettings()
    training: TrainingSettings = TrainingSettings()
    grids: dict[str, dict[str, tuple[ParamValue, ...]]] = Field(default_factory=dict)
    tracking: TrackingSettings = TrackingSettings()
    release: ReleaseSettings = ReleaseSettings()
    serving: ServingSettings = ServingSettings()
    stage: str = "dev"
    """The stage that the commands on AWS act on."""
    infra: dict[str, Any] = Field(default_factory=dict)
    stages: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """`get_stage` validates this and `infra`: training on a laptop needs neither."""


class Settings(BaseSettings, _Sections):
    """All settings. Environment variables named STACK_<SECTION>__<KEY> override the file."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_nested_delimiter="__")

    _file: Path = PrivateAttr(default=PROJECT_ROOT / "settings.toml")
    _root: Path = PrivateAttr(default=PROJECT_ROOT)
    _copies: Mapping[str, Path] = PrivateAttr(default_factory=dict)

    @property
    def root(self) -> Path:
        """The folder that relative paths and .local/ are relative to: that of settings.toml."""
        return self._root

    def resolve_path(self, path: str) -> str:
        """Return a relative path below the root; absolute paths and URIs are unchanged."""
        return path if "://" in path else str(self.root / _expand_user(path))

    def with_copies(self, copies: Mapping[str, Path]) -> "Settings":
        """Return the settings with the folders that tables were downloaded to, by their paths."""
        settings = self.model_copy()
        settings._copies = copies
        return settings

    def find_copy(self, path: str) -> Path | None:
        """Return the folder that a table was downloaded to, or None."""
        return self._copies.get(path)

    @property
    def tracking_uri(self) -> str:
        """The MLflow tracking URI; a relative SQLite path is below the root."""
        scheme, separator, name = self.tracking.uri.partition(":///")
        if scheme == "sqlite" and separator:
            return f"sqlite:///{self.root / _expand_user(name)}"
        return self.tracking.uri

    @property
    def masked_tracking_uri(self) -> str:
        """The tracking URI without its password, for messages."""
        return mask_password(self.tracking.uri)

    @property
    def uses_tracking_server(self) -> bool:
        """Whether the tracking URI is a server's address, not a local database."""
        return self.tracking.uri.startswith(("http://", "https://"))

    @property
    def artifact_root(self) -> str:
        """Where the runs of a local store save their artifacts, as a URI.

        MLflow's own default is a folder below the current directory.
        """
        return (self.root / ".local" / "artifacts").as_uri()

    def get_stage(self, name: str = "") -> Stage:
        """Return the settings of a stage.

        Args:
            name: The stage; by default the one in the key `stage`.

        Raises:
            SettingsError: There is no such stage; one of its keys is unknown, of the wrong type or
                out of range; or its endpoint is another stage's as well.
        """
        name = name or self.stage
        if name not in self.stages:
            known = ", ".join(self.stages) or "none"
            reason = f"no such stage (defined: {known}){suggest(name, set(self.stages))}"
            raise SettingsError(f"{self._file.name}: stages.{name}: {reason}")
        stage = self._validate_stage(name)
        self._refuse_shared_endpoint(stage)
        return stage

    def _refuse_shared_endpoint(self, stage: Stage) -> None:
        for other, own in self.stages.items():
            # Not validated: another stage may be incomplete.
            keys = {"account": "", **self.infra, **own}
            if other != stage.name and all(
                keys.get(key) == getattr(stage, key) for key in ("account", "region", "endpoint")
            ):
                reason = f"stages.{stage.name} and stages.{other} have the same endpoint"
                raise SettingsError(f"{self._file.name}: {reason}, {stage.endpoint}")

    def _validate_stage(self, name: str) -> Stage:
        own = self.stages[name]
        try:
            return Stage(**{**self.infra, **own, "name": name})
        except ValidationError as error:
            raise SettingsError(explain_stage(error, self._file.name, name, own, Stage)) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Prefer environment variables to the file, whose content the constructor gets."""
        return env_settings, init_settings


def mask_password(uri: str) -> str:
    """Return a URI without its password, for messages and tags: `http://me:***@host`."""
    return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:***@", uri)


def load_settings(file: Path | None = None, root: Path | None = None) -> Settings:
    """Load the settings of this process.

    Args:
        file: The file, TOML or JSON; by default the one in STACK_SETTINGS, else the project's
            settings.toml.
        root: The folder that relative paths are relative to; by default the file's.

    Raises:
        SettingsError: The file is missing or not valid TOML; or a key is unknown, of the wrong type
            or out of range.
    """
    file = (
        file or Path(os.environ.get(f"{ENV_PREFIX}SETTINGS") or PROJECT_ROOT / "settings.toml")
    ).resolve()
    _refuse_unknown_variables()
    content = _parse(file)
    try:
        _validate_types(content)
        settings = Settings(**_with_mlflow_variables(content))
    except ValidationError as error:
        raise SettingsError(explain(error, file.name, Settings)) from None
    except UnreadableVariable as error:
        field = str(error).split('"')[1] if '"' in str(error) else "a variable"
        reason = 'can\'t be parsed; a list is written as JSON, \'["a", "b"]\''
        raise SettingsError(f"environment: {ENV_PREFIX}{field.upper()}...: {reason}") from None
    settings._file, settings._root = file, root or file.parent
    logger.debug("Loaded %s", file)
    return settings


def _parse(file: Path) -> dict[str, Any]:
    is_json = file.suffix == ".json"
    try:
        text = file.read_text(encoding="utf-8")
        return dict(json.loads(text)) if is_json else tomllib.loads(text)
    except FileNotFoundError:
        raise SettingsError(f"{file}: no such file") from None
    except OSError as error:
        raise SettingsError(f"{file}: {error.strerror}") from None
    except (ValueError, TypeError) as error:  # the parsers' errors are ValueErrors
        expected = "JSON" if is_json else "TOML"
        raise SettingsError(f"{file.name}: not valid {expected}: {error}") from None


def _validate_types(content: dict[str, Any]) -> None:
    # Environment variables are strings, so pydantic converts them. TOML has types: there "5" is not
    # a number. pydantic's strict mode for JSON still accepts a list for a tuple.
    try:
        _Sections.model_validate_json(json.dumps(content, default=str), strict=True)
    except ValidationError as error:
        if any(finding["type"] != "missing" for finding in error.errors()):
            raise


def _with_mlflow_variables(content: dict[str, Any]) -> dict[str, Any]:
    """Override the file by MLflow's own variables, which `mlflow run` sets as well."""
    tracking = dict(content.get("tracking") or {})
    for key, variable in (("uri", "MLFLOW_TRACKING_URI"), ("run_id", "MLFLOW_RUN_ID")):
        if value := os.environ.get(variable):
            tracking[key] = value
    return {**content, "tracking": tracking}


def _refuse_unknown_variables() -> None:
    known = set(Settings.model_fields)
    for name in sorted(os.environ):
        section = name.removeprefix(ENV_PREFIX).split("__")[0].lower()
        # Other programs use this prefix too, but without the double underscore.
        if name.startswith(ENV_PREFIX) and "__" in name and section not in known:
            raise SettingsError(f"environment: {name}: unknown setting{suggest(section, known)}")


def _expand_user(path: str) -> str:
    # Path.expanduser raises an error if there is no such user.
    return os.path.expanduser(path)  # noqa: PTH111
