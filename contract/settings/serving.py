"""The settings of a serving process, from environment variables alone."""

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as UnreadableVariable

from contract.errors import SettingsError
from contract.settings.messages import ENV_PREFIX, explain
from contract.settings.sections import ServingSettings


class _ServingOnly(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_nested_delimiter="__")

    serving: ServingSettings = ServingSettings()


def load_serving_settings() -> ServingSettings:
    """Load the settings of a serving process; the serving image has no settings.toml.

    Raises:
        SettingsError: A variable is of the wrong type or out of range.
    """
    try:
        return _ServingOnly().serving
    except ValidationError as error:
        raise SettingsError(explain(error, "environment", _ServingOnly)) from None
    except UnreadableVariable:
        raise SettingsError(f"environment: {ENV_PREFIX}SERVING: can't be parsed") from None
