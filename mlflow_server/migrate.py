"""Migrate the database to the schema of the installed MLflow and create the stack's users."""

from collections.abc import Iterator
from contextlib import contextmanager

import mlflow.store.db.utils
import sqlalchemy
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore as AuthStore
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as TrackingStore
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from contract.errors import TrackingError
from contract.names import MlflowUser
from mlflow_server.config import ServerConfig

DEFAULT_ARTIFACT_ROOT = "mlflow-artifacts:/"
"""The artifact root that clients see: the server proxies artifacts, and only it can access the
bucket.
"""
ADVISORY_LOCK_KEY = 7_308_062
"""An arbitrary number that identifies the lock; nothing else in this database may use it."""


def migrate(config: ServerConfig) -> None:
    """Migrate the tracking and auth tables and create or update the users; idempotent.

    A password that was changed in Secrets Manager is updated here too, so that restarting the
    service applies it.

    Raises:
        TrackingError: The database is unreachable or returns an error.
    """
    engine = sqlalchemy.create_engine(config.database_uri)
    try:
        with _advisory_lock(engine):
            _migrate_tracking_tables(engine, config)
            _create_or_update_users(config)
    except SQLAlchemyError as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())
        raise TrackingError(
            f"can't migrate the database at {config.database_host}: {reason}"
        ) from None
    finally:
        engine.dispose()


@contextmanager
def _advisory_lock(engine: Engine) -> Iterator[None]:
    """Hold a Postgres advisory lock: tasks that start together would create the tables twice.

    Postgres releases the lock when the connection closes, even if the process is killed.
    """
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ADVISORY_LOCK_KEY})
        yield


def _migrate_tracking_tables(engine: Engine, config: ServerConfig) -> None:
    # This is what `mlflow db upgrade` runs. It fails on an empty database, whose tables the store
    # creates when it is opened.
    if "alembic_version" in inspect(engine).get_table_names():
        mlflow.store.db.utils._upgrade_db(engine)
    TrackingStore(config.database_uri, DEFAULT_ARTIFACT_ROOT)  # also creates the default experiment


def _create_or_update_users(config: ServerConfig) -> None:
    store = AuthStore()
    store.init_db(config.database_uri)
    passwords = {
        MlflowUser.ADMIN: config.admin_password,
        MlflowUser.TRAINING: config.training_password,
    }
    for name, secret in passwords.items():
        password = secret.get_secret_value()
        if not store.has_user(name):
            store.create_user(name, password, is_admin=name is MlflowUser.ADMIN)
        elif not store.authenticate_user(name, password):
            store.update_user(name, password=password)
