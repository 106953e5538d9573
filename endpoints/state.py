"""The state of a local endpoint, stored in `.local/endpoints/<name>/state.json`.

The file is replaced by a rename, which switches the traffic: the router reloads the state when the
file is another one.
"""

import hashlib
import os
import tempfile
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from contract.errors import EndpointError

STATE_FILE = "state.json"
ROUTER_MODULES = ("router.py", "state.py", "logs.py")


class BackendType(StrEnum):
    """How a deployment runs on this machine."""

    PROCESS = "process"
    CONTAINER = "container"


class _StateModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Backend(_StateModel):
    """A server of one release, behind an endpoint."""

    id: str
    """The name of its folder in the endpoint's folder, and part of its container's name."""
    model: str
    version: str
    digest: str
    """SHA-256 of the release's manifest, in hex."""
    type: BackendType
    server_digest: str
    """A digest of the server's code or image, and of its settings."""
    port: int
    pid: int | None
    """None for a container."""
    started_at: datetime
    live_since: datetime

    @property
    def name(self) -> str:
        """The release's name, for messages: `house-prices version 2`."""
        return f"{self.model} version {self.version}"


class State(_StateModel):
    """The backends of an endpoint: the live one, and the previous one for a rollback."""

    live: Backend | None = None
    previous: Backend | None = None

    @property
    def backends(self) -> list[Backend]:
        """The backends that exist."""
        return [backend for backend in (self.live, self.previous) if backend]


def load_state(folder: Path) -> State:
    """Load the state of an endpoint; it is empty if nothing was deployed.

    Raises:
        EndpointError: The file can't be read or parsed.
    """
    file = folder / STATE_FILE
    try:
        return State.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return State()
    except ValidationError:
        raise EndpointError(
            f"{file}: can't be parsed; run make deploy-endpoint to replace it"
        ) from None
    except OSError as error:
        raise EndpointError(f"{file}: {error.strerror}") from None


def save_state(folder: Path, state: State) -> None:
    """Replace the state of an endpoint atomically; the router uses it from the next request on."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=STATE_FILE, delete=False) as file:
        file.write(state.model_dump_json(indent=2).encode())
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(folder / STATE_FILE)


def utc_now() -> datetime:
    """Return the current time in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def router_code_digest() -> str:
    """Return a digest of the router's code; a router that runs other code is replaced."""
    files = (Path(__file__).with_name(name) for name in ROUTER_MODULES)
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
