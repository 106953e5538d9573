"""The release and its manifest: the interface between training and serving.

A release is a folder with an MLflow model in ONNX format and `manifest.json`, which lists every
other file with its SHA-256. The digest of a release is that of its manifest. Every program that
loads or deploys a release validates it with `load_release` first.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from contract.errors import ReleaseError

MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.onnx"
"""The model with one input per column, as MLflow and its server need it."""
PACKED_FILE = "packed.onnx"
"""The same model with one input per column type (`Column.packed_input`), shaped columns x rows.

This is the file that the server loads: onnxruntime takes longer to receive eighty inputs than to
predict one row.
"""
IGNORED_FILES = frozenset({"registered_model_meta"})
"""Files that MLflow adds to the folder when it downloads a registered model."""
CHECK_FILE = "check.json"
"""Rows with their expected predictions, to check a loaded release: `rows`, `predictions`."""
PREDICTION = "prediction"
"""The graph's output: one float per row."""
MISSING_INT64 = -(2**63)
"""The value of a missing integer in the graph's input: int64 has no NaN."""

PARITY_TOLERANCE = 1e-5
"""The largest relative difference allowed between the predictions of two forms of a model."""

ImageDigest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
"""The digest of an image's manifest, by which registries address it."""
ColumnType = Literal["long", "double", "boolean", "string"]
ColumnRole = Literal["numeric", "numeric_category", "text_category", "text_category_with_missing"]
"""How the pipeline treats a column.

`numeric` is imputed by nearest neighbors. `numeric_category` and `text_category` are one-hot
encoded with the most frequent category in place of a missing value; in `text_category_with_missing`
a missing value is a category of its own.
"""


class _ManifestModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ReleaseFile(_ManifestModel):
    """A file of a release, as the manifest lists it."""

    path: str
    """Relative to the release's folder, separated by slashes."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)
    """Bytes."""

    @field_validator("path")
    @classmethod
    def _check_path(cls, path: str) -> str:
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or "\\" in path or ":" in path:
            raise ValueError(f"the path is outside the release's folder: {path!r}")
        return path


class ColumnProfile(_ManifestModel):
    """The distribution of a column's training values, as the reference for live data."""

    missing_fraction: float
    """The share of rows whose value is missing, from 0 to 1."""
    quantiles: tuple[float, ...] = ()
    """Of a numeric column: minimum, the nine deciles, maximum."""
    frequencies: Mapping[str, float] = {}
    """Of a categorical column: the share of each of the most frequent values."""


class Column(_ManifestModel):
    """A raw column, which is an input of the graph under the same name.

    The graph's input is int64 for `long`, with `MISSING_INT64` for a missing value; float32 for
    `double`, with NaN for a missing value (float64 where the role is `numeric_category`); bool for
    `boolean`; and string for `string`, with the empty string for a missing value.
    """

    name: str = Field(min_length=1)
    type: ColumnType
    role: ColumnRole
    required: bool
    """Whether no training row lacked a value; a request without the column is then refused."""
    categories: tuple[str, ...] = ()
    """The known categories; those of a `numeric_category` column are integers as text."""
    profile: ColumnProfile

    @property
    def packed_input(self) -> str:
        """The input of the packed graph that holds this column as a row, in the columns' order."""
        return "category" if (self.type, self.role) == ("double", "numeric_category") else self.type


class Manifest(_ManifestModel):
    """The description of a release, for deploying, serving and monitoring it."""

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
    """The strings that mark a missing value."""
    columns: tuple[Column, ...] = Field(min_length=1)
    """In the order of the training table, which rows without column names have to follow."""
    files: tuple[ReleaseFile, ...] = Field(min_length=1)
    images: Mapping[str, ImageDigest] = {}
    """The images of a release that was trained on AWS, by their names in ECR: `train`, `serve`.

    They are copied with the release to another stage. A release without them can be deployed with
    any image of the same code.
    """

    def to_bytes(self) -> bytes:
        """Return the content of manifest.json."""
        return (self.model_dump_json(indent=2) + "\n").encode()


class Release(_ManifestModel):
    """A release whose files were loaded and match its manifest."""

    manifest: Manifest
    digest: str
    """SHA-256 of manifest.json, in hex."""
    files: Mapping[str, bytes]

    @property
    def name(self) -> str:
        """The name in messages: `house-prices version 3`."""
        return f"{self.manifest.model} version {self.manifest.version}"


def list_files(folder: Path) -> tuple[ReleaseFile, ...]:
    """Return the manifest entries of all files of a folder."""
    names = sorted(path.relative_to(folder).as_posix() for path in _files(folder))
    return tuple(
        ReleaseFile(path=name, sha256=sha256_hex(content), size=len(content))
        for name in names
        if name != MANIFEST_FILE and name not in IGNORED_FILES
        for content in [(folder / name).read_bytes()]
    )


def sha256_hex(content: bytes) -> str:
    """Return the SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def parse_manifest(content: bytes, source: str) -> Manifest:
    """Parse a manifest.

    Args:
        content: The bytes of manifest.json.
        source: The file's name, for the message.

    Raises:
        ReleaseError: The content is not a manifest, or its version or format is not supported.
    """
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "JSON"
        raise ReleaseError(f"{source}: {where}: {first['msg']}") from None


def load_release(folder: Path) -> Release:
    """Load a release and validate every file against the manifest.

    Raises:
        ReleaseError: There is no manifest; a file is missing, changed or not listed; or a path is
            outside the folder. The message names the file.
    """
    root = folder.resolve()
    manifest_file = root / MANIFEST_FILE
    if not manifest_file.is_file():
        raise ReleaseError(f"{folder}: not a release: {_explain_missing_manifest(root)}")
    content = manifest_file.read_bytes()
    manifest = parse_manifest(content, str(folder / MANIFEST_FILE))
    listed = {entry.path: entry for entry in manifest.files}
    for path in _files(root):
        name = path.relative_to(root).as_posix()
        if not path.resolve().is_relative_to(root):
            raise ReleaseError(f"{folder}: {name} links to a file outside the release's folder")
        if name not in listed and name != MANIFEST_FILE and name not in IGNORED_FILES:
            raise ReleaseError(f"{folder}: {name} is not listed in {MANIFEST_FILE}")
    files = {name: _read_verified(root, entry, folder) for name, entry in listed.items()}
    for name in (MODEL_FILE, PACKED_FILE):
        if name not in files:
            raise ReleaseError(f"{folder}: {MANIFEST_FILE} doesn't list {name}")
    return Release(manifest=manifest, digest=sha256_hex(content), files=files)


def _read_verified(root: Path, entry: ReleaseFile, folder: Path) -> bytes:
    try:
        content = (root / entry.path).read_bytes()
    except FileNotFoundError:
        raise ReleaseError(f"{folder}: {entry.path} is missing") from None
    except OSError as error:
        raise ReleaseError(f"{folder}: {entry.path}: {error.strerror}") from None
    if sha256_hex(content) != entry.sha256:
        raise ReleaseError(f"{folder}: {entry.path} doesn't match its SHA-256 in {MANIFEST_FILE}")
    return content


def _files(root: Path) -> list[Path]:
    return [path for path in sorted(root.rglob("*")) if path.is_symlink() or not path.is_dir()]


def _explain_missing_manifest(root: Path) -> str:
    if not root.is_dir():
        return "no such folder"
    if not (root / "MLmodel").is_file():
        return f"no {MANIFEST_FILE} in it"
    flavors = ", ".join(_list_flavors((root / "MLmodel").read_text(errors="replace"))) or "unknown"
    return f"an MLflow model of flavor {flavors} without {MANIFEST_FILE}; release it: make release"


def _list_flavors(mlmodel: str) -> list[str]:
    """Return an MLflow model's flavors by the indentation of MLmodel: no YAML parser is needed."""
    flavors = []
    in_flavors = False
    for line in mlmodel.splitlines():
        if not line.startswith(" "):
            in_flavors = line.startswith("flavors:")
        elif in_flavors and line.startswith("  ") and not line.startswith("   ") and ":" in line:
            flavors.append(line.strip().split(":")[0])
    return [flavor for flavor in flavors if flavor != "python_function"]
