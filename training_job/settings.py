"""The settings of a training job: a file in a channel, which hyperparameters override."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from contract.errors import SettingsError
from contract.settings.loader import Settings, load_settings
from contract.settings.messages import ENV_PREFIX
from contract.training_job import FORCE, SETTINGS_FILE, TABLE_KEYS, Channel
from training_job.folders import Folders

SAGEMAKER_PREFIX = "sagemaker_"
"""Hyperparameters that older SDKs of SageMaker add, for their own toolkits."""
SETTING_NAME = re.compile(r"[a-z_]+(\.[a-z0-9_]+)+")


def load_job_settings(folders: Folders, hyperparameters: Mapping[str, object]) -> Settings:
    """Load the settings of a job, with the tables that SageMaker downloaded.

    Args:
        folders: The container's folders.
        hyperparameters: Override settings, like environment variables do.

    Raises:
        SettingsError: There are no settings; a setting is unknown or invalid; or a table was not
            downloaded.
    """
    variables = {_variable(name): value for name, value in _overrides(hyperparameters).items()}
    os.environ.update(variables)
    try:
        settings = load_settings(_find_settings(folders), root=folders.checkpoints)
    except SettingsError as error:
        raise SettingsError(_name_hyperparameter(str(error), hyperparameters)) from None
    return settings.with_copies(_find_tables(settings, folders))


def read_force(hyperparameters: Mapping[str, object]) -> bool:
    """Return the hyperparameter `force`.

    Raises:
        SettingsError: It is neither "true" nor "false".
    """
    value = hyperparameters.get(FORCE, "false")
    if value not in {"true", "false"}:
        raise SettingsError(f"hyperparameter {FORCE}: expected true or false, not {value!r}")
    return value == "true"


def _overrides(hyperparameters: Mapping[str, object]) -> dict[str, str]:
    overrides = {}
    for name, value in hyperparameters.items():
        if name == FORCE or name.startswith(SAGEMAKER_PREFIX):
            continue
        if not SETTING_NAME.fullmatch(name):
            reason = "unknown; a setting is named like training.families"
            raise SettingsError(f"hyperparameter {name}: {reason}")
        if not isinstance(value, str):
            reason = f"expected a string, as SageMaker passes them, not {value!r}"
            raise SettingsError(f"hyperparameter {name}: {reason}")
        overrides[name] = value
    return overrides


def _variable(name: str) -> str:
    return ENV_PREFIX + name.upper().replace(".", "__")


def _name_hyperparameter(message: str, hyperparameters: Mapping[str, object]) -> str:
    for name in hyperparameters:
        message = re.sub(rf"environment: {_variable(name)}\b", f"hyperparameter {name}", message)
    return message


def _find_settings(folders: Folders) -> Path:
    folder = folders.find_channel(Channel.CONFIG)
    files = [path for path in folder.iterdir() if not path.name.startswith(".")] if folder else []
    if len(files) != 1 or files[0].suffix not in {".toml", ".json"}:
        found = ", ".join(sorted(path.name for path in files)) or "nothing"
        place = folders.base / "input" / "data" / Channel.CONFIG
        reason = f"expected one file, {SETTINGS_FILE} or settings.toml, and found {found}"
        raise SettingsError(f"{place}: {reason}")
    return files[0]


def _find_tables(settings: Settings, folders: Folders) -> dict[str, Path]:
    """Return the folder of each table that was downloaded, by the path in the settings."""
    copies = {}
    for channel, key in TABLE_KEYS.items():
        path = getattr(settings.data, key)
        if folder := folders.find_channel(channel):
            if not path:
                raise SettingsError(f"data.{key} is empty, but there is a channel {channel}")
            copies[path] = folder
        elif path and "://" not in path:
            place = folders.base / "input" / "data" / channel
            raise SettingsError(
                f"data.{key}: {path} is not in the container; expected it in {place}"
            )
    return copies
