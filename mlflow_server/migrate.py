"""Bring the database to the schema of this MLflow, and make the users that the stack needs."""

from collections.abc import Iterator
from contextlib import contextmanager

import mlflow.store.db.utils
import sqlalchemy
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore as Users
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as Runs
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from contract.errors import TrackingError
from contract.names import MlflowUser
from mlflow_server.config import Config

PROXIED = "mlflow-artifacts:/"
"""Where artifacts are for clients: behind the server, which alone may use the bucket."""
LOCK = 7_308_062
"""Any number that nothing else in this database takes for a lock."""


def migrate(config: Config) -> None:
    """Migrate runs and users, one process at a time; nothing to do is nothing done.

    A password that was changed in its secret is changed here as well, so that a restart is enough.

    Raises:
        TrackingError: The database can't be reached or refuses.
    """
    engine = sqlalchemy.create_engine(config.database)
    try:
        with _alone(engine):
            _migrate_runs(engine, config)
            _make_users(config)
    except SQLAlchemyError as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())
        raise TrackingError(f"the database at {config.database_host}: {reason}") from None
    finally:
        engine.dispose()


@contextmanager
def _alone(engine: Engine) -> Iterator[None]:
    """Hold a lock of the database's: tasks that start together would both make its tables.

    It ends with the connection, whatever becomes of the process.
    """
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:number)"), {"number": LOCK})
        yield


def _migrate_runs(engine: Engine, config: Config) -> None:
    # What `mlflow db upgrade` runs. It can't begin with an empty database, which the store itself
    # fills when it is opened.
    if "alembic_version" in inspect(engine).get_table_names():
        mlflow.store.db.utils._upgrade_db(engine)
    Runs(config.database, PROXIED)  # which makes the default experiment as well


def _make_users(config: Config) -> None:
    users = Users()
    users.init_db(config.database)
    passwords = {
        MlflowUser.ADMIN: config.admin_password,
        MlflowUser.TRAINING: config.training_password,
    }
    for name, secret in passwords.items():
        password = secret.get_secret_value()
        if not users.has_user(name):
            users.create_user(name, password, is_admin=name is MlflowUser.ADMIN)
        elif not users.authenticate_user(name, password):
            users.update_user(name, password=password)
