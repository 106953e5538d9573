"""The configuration of the MLflow server: environment variables that the Fargate task sets."""

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL

from contract.errors import SettingsError

ENV_PREFIX = "TRACKING_SERVER_"
CONNECT_TIMEOUT_SECONDS = 5
"""Timeout for opening a connection to the database."""
TCP_USER_TIMEOUT_MS = 10_000
"""How long sent data may stay unacknowledged before the connection is closed."""


class ServerConfig(BaseSettings):
    """The server's configuration; each field is the variable TRACKING_SERVER_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True)

    database_host: str = Field(min_length=1)
    database_port: int = Field(default=5432, ge=1, le=65535)
    database_name: str = "mlflow"
    database_user: str = "mlflow"
    database_password: SecretStr = Field(min_length=1)
    database_sslmode: str = "require"
    """libpq's sslmode."""
    admin_password: SecretStr = Field(min_length=12)
    training_password: SecretStr = Field(min_length=12)
    """The password of the MLflow user that training jobs log in as."""
    flask_secret: SecretStr = Field(min_length=16)
    """Flask's secret key. It must be the same in every task: a form that one task has rendered may
    be submitted to another one.
    """
    artifacts_destination: str = Field(pattern="^s3://.+")
    allowed_hosts: str = Field(min_length=1)
    """The host names that requests may be addressed to, separated by commas."""
    host: str = "0.0.0.0"  # noqa: S104 - in a container; its security group restricts access
    port: int = Field(default=5000, ge=1, le=65535)
    workers: int = Field(default=2, ge=1)

    @property
    def database_uri(self) -> str:
        """The URI of the database, including the password."""
        return URL.create(
            "postgresql+psycopg2",
            username=self.database_user,
            password=self.database_password.get_secret_value(),
            host=self.database_host,
            port=self.database_port,
            database=self.database_name,
            query={
                "sslmode": self.database_sslmode,
                "connect_timeout": str(CONNECT_TIMEOUT_SECONDS),
                # Detects a database that disappeared without closing its connections: in seconds
                # instead of hours.
                "tcp_user_timeout": str(TCP_USER_TIMEOUT_MS),
                "application_name": "mlflow",
            },
        ).render_as_string(hide_password=False)


def load_config() -> ServerConfig:
    """Load the configuration from the environment.

    Raises:
        SettingsError: A variable is missing or invalid.
    """
    try:
        return ServerConfig()
    except ValidationError as error:
        first = error.errors()[0]
        # Never include the value: some are passwords.
        name = f"{ENV_PREFIX}{first['loc'][0]}".upper()
        reason = "is not set" if first["type"] == "missing" else first["msg"].lower()
        raise SettingsError(f"environment: {name}: {reason}") from None
