"""A Postgres server for the tests, on 127.0.0.1; it needs Debian's package `postgresql`."""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg2
import pytest

from endpoints.ports import find_free_port

USER = "mlflow"
DEBIAN_FOLDER = Path("/usr/lib/postgresql")


def find_binaries() -> Path | None:
    """Return the folder of Postgres's programs, or None if it isn't installed."""
    versions = sorted(DEBIAN_FOLDER.glob("*/bin/initdb"), key=lambda file: int(file.parts[-3]))
    if versions:
        return versions[-1].parent
    initdb = shutil.which("initdb")
    return Path(initdb).parent if initdb else None


needs_postgres = pytest.mark.skipif(
    find_binaries() is None, reason="Postgres is not installed (Debian package: postgresql)"
)


class Postgres:
    """A server that can be stopped and started again."""

    def __init__(self) -> None:
        binaries = find_binaries()
        assert binaries is not None
        self._binaries = binaries
        # Not in pytest's folder: only root can access it, and Postgres doesn't run as root.
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))
        self.port = find_free_port()
        # Contains characters that must be escaped in a URI and in MLflow's auth configuration.
        self.password = f"{secrets.token_hex(16)}%/@:"
        self._server: subprocess.Popen[bytes] | None = None
        self._initialize()
        self.start()

    def _initialize(self) -> None:
        file = self._folder / "password"
        file.write_text(self.password)
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            for path in (self._folder, file):
                os.chown(path, user.pw_uid, user.pw_gid)
        data = str(self._folder / "data")
        options = ["--auth=scram-sha-256", f"--pwfile={file}", "--no-sync", f"--username={USER}"]
        subprocess.run(
            self._command("initdb", "--pgdata", data, *options), check=True, capture_output=True
        )

    def _command(self, program: str, *arguments: str) -> list[str]:
        """Return the command line of a program, which runs as the user `postgres` under root."""
        command = [str(self._binaries / program), *arguments]
        if os.geteuid() != 0:
            return command
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]

    def start(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self._folder),
            "fsync": "off",
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        self._server = subprocess.Popen(
            self._command("postgres", "-D", str(self._folder / "data"), *options),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(200):
            try:
                self.execute("SELECT 1", database="postgres")
            except psycopg2.OperationalError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError("Postgres didn't start")

    def stop(self) -> None:
        """Stop the server and cut all connections, as in a failover."""
        assert self._server is not None
        self._server.send_signal(signal.SIGQUIT)
        self._server.wait(20)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def execute(self, statement: str, database: str = "mlflow") -> list[tuple[object, ...]]:
        """Run a statement in autocommit mode and return its rows."""
        connection = psycopg2.connect(
            host="127.0.0.1",
            port=self.port,
            user=USER,
            password=self.password,
            dbname=database,
            connect_timeout=3,
        )
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()
