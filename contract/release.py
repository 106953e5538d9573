"""The release manifest: the border between training and whatever serves.

A release is a folder with an MLflow model in ONNX form and `manifest.json`, which lists every other
file with its SHA-256. The digest of a release is that of its manifest. Whoever loads or deploys a
release checks it here first.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from contract.errors import ReleaseError

MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.onnx"
"""The model with an input a column, as MLflow and its server take it."""
PACKED_FILE = "packed.onnx"
"""The same with an input a type (`Column.packed_input`), columns x rows: the one file that a server loads.

To hand over eighty inputs takes onnxruntime longer than to predict a row.
"""
IGNORED_FILES = frozenset({"registered_model_meta"})
"""What MLflow puts into the folder when it downloads a registered model."""
CHECK_FILE = "check.json"
"""Rows with their predictions, which whoever loads a release may try: `rows`, `predictions`."""
PREDICTION = "prediction"
"""The graph's output: a float a row."""
MISSING_INT64 = -(2**63)
"""What stands for a missing whole number in the graph's input: int64 has no NaN."""

PARITY_TOLERANCE = 1e-5
"""By how much a prediction may differ, relatively, between two forms of the same model."""

ColumnType = Literal["long", "double", "boolean", "string"]
ColumnRole = Literal["number", "code", "text", "optional_text"]


class _ManifestModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ReleaseFile(_ManifestModel):
    """A file of a release."""

    path: str
    """Relative to the release's folder, with slashes."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)
    """Bytes."""

    @field_validator("path")
    @classmethod
    def _refuse_paths_that_leave(cls, path: str) -> str:
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or "\\" in path or ":" in path:
            raise ValueError(f"a path that leaves the release's folder: {path!r}")
        return path


class ColumnProfile(_ManifestModel):
    """What a column's values were in training: what live ones are compared with."""

    missing_fraction: float
    """The share of rows without a value."""
    quantiles: tuple[float, ...] = ()
    """Of numbers: minimum, the nine deciles, maximum."""
    frequencies: Mapping[str, float] = {}
    """Of text and codes: the share of each of the most frequent values."""


class Column(_ManifestModel):
    """A raw column, which is an input of the graph under the same name.

    The graph takes `long` as int64 with `MISSING_INT64` for missing, `double` as float32 with NaN (as
    float64 where the role is code), `boolean` as bool, and `string` with the empty text for
    missing.
    """

    name: str = Field(min_length=1)
    type: ColumnType
    role: ColumnRole
    required: bool
    """Whether it never lacked a value in training: a request that leaves it out is refused."""
    categories: tuple[str, ...] = ()
    """The known values of text and codes; a code as the text of its whole number."""
    profile: ColumnProfile

    @property
    def packed_input(self) -> str:
        """The input of the packed graph that it is a line of, in the columns' order."""
        return "code" if (self.type, self.role) == ("double", "code") else self.type


class Manifest(_ManifestModel):
    """All that is to be known of a release by those who deploy, serve or watch it."""

    manifest_version: Literal[1] = 1
    format: Literal["onnx"] = "onnx"
    model: str
    version: str = Field(pattern=r"^[1-9][0-9]*$")
    created_at: str
    """UTC, ISO 8601."""
    run_id: str
    family: str
    params: Mapping[str, bool | int | float | str | None]
    validation_metrics: Mapping[str, float]
    """RMSE, MAPE and R2 of the released graph."""
    test_metrics: Mapping[str, float] | None
    data_digest: str
    git_commit: str | None
    mlflow_version: str
    label: str
    missing_values: tuple[str, ...]
    """The texts that stand for a missing value."""
    columns: tuple[Column, ...] = Field(min_length=1)
    """In the order of the training table, which is that of rows without names."""
    files: tuple[ReleaseFile, ...] = Field(min_length=1)

    def to_bytes(self) -> bytes:
        """Return the content of manifest.json."""
        return (self.model_dump_json(indent=2) + "\n").encode()


class Release(_ManifestModel):
    """A release whose files were read and are those that its manifest lists."""

    manifest: Manifest
    digest: str
    """SHA-256 of manifest.json, in hex."""
    files: Mapping[str, bytes]

    @property
    def name(self) -> str:
        """What a person calls it."""
        return f"{self.manifest.model} version {self.manifest.version}"


def list_files(folder: Path) -> tuple[ReleaseFile, ...]:
    """Return the entries of a manifest for all files of a folder."""
    found = sorted(path.relative_to(folder).as_posix() for path in _files(folder))
    return tuple(
        ReleaseFile(path=name, sha256=sha256_hex(content), size=len(content))
        for name in found
        if name != MANIFEST_FILE and name not in IGNORED_FILES
        for content in [(folder / name).read_bytes()]
    )


def sha256_hex(content: bytes) -> str:
    """Return the SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def parse_manifest(content: bytes, source: str) -> Manifest:
    """Read a manifest.

    Raises:
        ReleaseError: It is none, or of a version or format that is not known here.
    """
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "JSON"
        raise ReleaseError(f"{source}: {where}: {first['msg']}") from None


def load_release(folder: Path) -> Release:
    """Read a release, and check every byte of it.

    Raises:
        ReleaseError: There is no manifest, a file is missing, differs or isn't listed, or a path
            leaves the folder; the message names the file.
    """
    root = folder.resolve()
    manifest_file = root / MANIFEST_FILE
    if not manifest_file.is_file():
        raise ReleaseError(f"{folder}: no release: {_what_is_there(root)}")
    content = manifest_file.read_bytes()
    manifest = parse_manifest(content, str(folder / MANIFEST_FILE))
    listed = {one.path: one for one in manifest.files}
    for path in _files(root):
        name = path.relative_to(root).as_posix()
        if not path.resolve().is_relative_to(root):
            raise ReleaseError(f"{folder}: {name} leads out of the release's folder")
        if name not in listed and name != MANIFEST_FILE and name not in IGNORED_FILES:
            raise ReleaseError(f"{folder}: {name} is not listed in {MANIFEST_FILE}")
    files = {name: _read_checked(root, entry, folder) for name, entry in listed.items()}
    for name in (MODEL_FILE, PACKED_FILE):
        if name not in files:
            raise ReleaseError(f"{folder}: {MANIFEST_FILE} lists no {name}")
    return Release(manifest=manifest, digest=sha256_hex(content), files=files)


def _read_checked(root: Path, entry: ReleaseFile, folder: Path) -> bytes:
    try:
        content = (root / entry.path).read_bytes()
    except FileNotFoundError:
        raise ReleaseError(f"{folder}: {entry.path} is missing") from None
    except OSError as error:
        raise ReleaseError(f"{folder}: {entry.path}: {error.strerror}") from None
    if sha256_hex(content) != entry.sha256:
        raise ReleaseError(f"{folder}: {entry.path} differs from what {MANIFEST_FILE} says of it")
    return content


def _files(root: Path) -> list[Path]:
    return [path for path in sorted(root.rglob("*")) if path.is_symlink() or not path.is_dir()]


def _what_is_there(root: Path) -> str:
    """Name the flavours of an MLflow model that is no release, as far as a glance at it tells."""
    if not root.is_dir():
        return "no such folder"
    if not (root / "MLmodel").is_file():
        return f"no {MANIFEST_FILE} in it"
    flavours = []
    inside = False
    for line in (root / "MLmodel").read_text(errors="replace").splitlines():
        if not line.startswith(" "):
            inside = line.startswith("flavors:")
        elif inside and line.startswith("  ") and not line.startswith("   ") and ":" in line:
            flavours.append(line.strip().split(":")[0])
    named = ", ".join(one for one in flavours if one != "python_function") or "unknown"
    return f"an MLflow model of flavour {named} without a {MANIFEST_FILE}; make release makes one of it"
