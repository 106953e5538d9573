"""What a local endpoint is, as `.local/endpoints/<name>/state.json` has it.

The file is replaced by a rename, which is how traffic moves: the front reads it anew once it is
another file.
"""

import hashlib
import os
import tempfile
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from contract.errors import EndpointError

STATE = "state.json"


class BackendType(StrEnum):
    """What a deployment runs as on this machine."""

    PROCESS = "process"
    CONTAINER = "container"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Backend(_Record):
    """A server of one release, behind an endpoint."""

    id: str
    """Its folder in the endpoint's, and its container's name."""
    model: str
    version: str
    digest: str
    type: BackendType
    server_digest: str
    """A digest of what serves the release, code or image, and of its settings."""
    port: int
    pid: int | None
    """None of a container."""
    started_at: datetime
    live_since: datetime

    @property
    def name(self) -> str:
        """What a person calls it."""
        return f"{self.model} version {self.version}"


class State(_Record):
    """An endpoint: what answers, and what a rollback would let answer."""

    live: Backend | None = None
    previous: Backend | None = None

    @property
    def backends(self) -> list[Backend]:
        """Return those that are there."""
        return [one for one in (self.live, self.previous) if one]


def load_state(folder: Path) -> State:
    """Read the state of an endpoint; that of none is empty.

    Raises:
        EndpointError: The file can't be read.
    """
    file = folder / STATE
    try:
        return State.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return State()
    except ValidationError:
        raise EndpointError(f"{file}: can't be read; make deploy-endpoint writes it anew") from None
    except OSError as error:
        raise EndpointError(f"{file}: {error.strerror}") from None


def save_state(folder: Path, state: State) -> None:
    """Replace the state of an endpoint: from now on the front goes by it."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=STATE, delete=False) as file:
        file.write(state.model_dump_json(indent=2).encode())
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(folder / STATE)


def now() -> datetime:
    """Return the time, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def code_digest() -> str:
    """Return a digest of the code that a front runs on: one that is older is replaced."""
    files = (Path(__file__).with_name(name) for name in ("router.py", "state.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
