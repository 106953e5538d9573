"""What the tracking host is told by its environment, as the Fargate task sets it."""

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL

from contract.errors import SettingsError

ENV_PREFIX = "TRACKING_SERVER_"
CONNECT_SECONDS = 5
"""How long a connection to the database is waited for."""
SILENT_MS = 10_000
"""How long what was sent may stay unacknowledged before a connection counts as lost."""


class Config(BaseSettings):
    """Each field is the variable TRACKING_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True)

    database_host: str = Field(min_length=1)
    database_port: int = Field(default=5432, ge=1, le=65535)
    database_name: str = "mlflow"
    database_user: str = "mlflow"
    database_password: SecretStr = Field(min_length=1)
    database_tls: str = "require"
    """libpq's sslmode."""
    admin_password: SecretStr = Field(min_length=12)
    training_password: SecretStr = Field(min_length=12)
    """Of the MLflow user that training jobs are."""
    flask_secret: SecretStr = Field(min_length=16)
    """The same for every task, or a form shown by one is refused by another."""
    artifacts: str = Field(pattern="^s3://.+")
    allowed_hosts: str = Field(min_length=1)
    """The names under which it may be asked, with commas between them."""
    host: str = "0.0.0.0"  # noqa: S104 - inside a container, whose network says who may come
    port: int = Field(default=5000, ge=1, le=65535)
    workers: int = Field(default=2, ge=1)

    @property
    def database(self) -> str:
        """The database's URI, password included."""
        return URL.create(
            "postgresql+psycopg2",
            username=self.database_user,
            password=self.database_password.get_secret_value(),
            host=self.database_host,
            port=self.database_port,
            database=self.database_name,
            query={
                "sslmode": self.database_tls,
                "connect_timeout": str(CONNECT_SECONDS),
                # A database that went away without a word is noticed in seconds, not in hours.
                "tcp_user_timeout": str(SILENT_MS),
                "application_name": "mlflow",
            },
        ).render_as_string(hide_password=False)


def load_config() -> Config:
    """Read the environment.

    Raises:
        SettingsError: A variable is missing or can't be used.
    """
    try:
        return Config()
    except ValidationError as error:
        first = error.errors()[0]
        # Never the value: some are passwords.
        name = f"{ENV_PREFIX}{first['loc'][0]}".upper()
        reason = "is not set" if first["type"] == "missing" else first["msg"].lower()
        raise SettingsError(f"environment: {name}: {reason}") from None
