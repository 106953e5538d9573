"""The release store: `releases/<model>/<version>/` in a folder or in S3.

A release is in the store once its `manifest.json` is, which is written last and never overwritten.
`champion.json` beside the versions names the version to deploy.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from cloudpathlib import AnyPath, CloudPath, S3Client, S3Path

from contract.errors import ReleaseError, ReleaseStoreError
from contract.release import (
    MANIFEST_FILE,
    Manifest,
    Release,
    load_release,
    parse_manifest,
    sha256_hex,
)

CHAMPION_FILE = "champion.json"


class ReleaseStore:
    """The releases of one model."""

    def __init__(self, uri: str, model: str, client: S3Client | None = None) -> None:
        """Set the location; nothing is created or read yet.

        Args:
            uri: A folder or an `s3://` URI.
            model: The model's name.
            client: Accesses S3; by default one with the credentials of the environment.
        """
        self.model = model
        self.uri = uri
        root = client.CloudPath(uri) if client else AnyPath(uri)
        self._root: Path | CloudPath = root / model

    def list_versions(self) -> list[str]:
        """Return the complete versions, the latest last."""
        with self._translate_errors():
            versions = [
                folder.name
                for folder in (self._root.iterdir() if self._root.exists() else [])
                if folder.name.isdigit() and (folder / MANIFEST_FILE).exists()
            ]
        return sorted(versions, key=int)

    def load_manifest(self, version: str) -> tuple[Manifest, str]:
        """Return a release's manifest and digest.

        Raises:
            ReleaseError: There is no such version.
        """
        file = self._root / version / MANIFEST_FILE
        with self._translate_errors():
            if not version.isdigit() or not file.exists():
                known = ", ".join(self.list_versions()) or "none yet"
                raise ReleaseError(f"{self.model}: no version {version} (available: {known})")
            content = file.read_bytes()
        return parse_manifest(content, str(file)), sha256_hex(content)

    def add(self, folder: Path) -> Release:
        """Add a release, its manifest last; adding the same release again changes nothing.

        Raises:
            ReleaseError: The folder is not a complete release, or the store has another release of
                the same version.
        """
        release = load_release(folder)
        target = self._root / release.manifest.version
        with self._translate_errors():
            # The file itself: a manifest of an older version doesn't have all fields.
            manifest = (folder / MANIFEST_FILE).read_bytes()
            if (target / MANIFEST_FILE).exists():
                return self._require_same(target, release, manifest)
            for name, content in release.files.items():
                _write(target / PurePosixPath(name), content)
            if not _write_once(target / MANIFEST_FILE, manifest):
                return self._require_same(target, release, manifest)
        return release

    def download(self, version: str, folder: Path) -> Release:
        """Copy a release into a new folder and validate every file.

        Raises:
            ReleaseError: There is no such version, or one of its files was changed.
        """
        manifest, _ = self.load_manifest(version)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            copy = Path(scratch) / version
            with self._translate_errors():
                for name in [*(file.path for file in manifest.files), MANIFEST_FILE]:
                    (copy / name).parent.mkdir(parents=True, exist_ok=True)
                    (copy / name).write_bytes((self._root / version / name).read_bytes())
            release = load_release(copy)
            # Another process may have downloaded the same release meanwhile.
            if not folder.exists():
                copy.rename(folder)
        return release

    def get_champion(self) -> str | None:
        """Return the version to deploy, or None if none was promoted yet."""
        file = self._root / CHAMPION_FILE
        with self._translate_errors():
            if not file.exists():
                return None
            try:
                return str(json.loads(file.read_bytes())["version"])
            except (ValueError, KeyError, TypeError):
                raise ReleaseError(f"{file}: can't be parsed") from None

    def promote(self, version: str) -> None:
        """Make a version the champion.

        Raises:
            ReleaseError: There is no such version.
        """
        _, digest = self.load_manifest(version)
        content = json.dumps({"version": version, "sha256": digest}, indent=2) + "\n"
        with self._translate_errors():
            _write(self._root / CHAMPION_FILE, content.encode())

    def _require_same(self, target: Path | CloudPath, release: Release, manifest: bytes) -> Release:
        if (target / MANIFEST_FILE).read_bytes() != manifest:
            raise ReleaseError(f"{target}: contains another release; versions are never replaced")
        return release

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except ReleaseError:
            raise
        except OSError as error:
            raise ReleaseStoreError(f"{self.uri}: {error.strerror or error}") from None
        except Exception as error:
            # botocore's exceptions have no common base class; a folder raises none of them.
            if isinstance(self._root, Path):
                raise
            raise ReleaseStoreError(f"{self.uri}: {' '.join(str(error).split())}") from None


def _write(file: Path | CloudPath, content: bytes) -> None:
    """Write a file atomically."""
    if isinstance(file, CloudPath):
        file.write_bytes(content)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = _write_scratch(file, content)
    scratch.replace(file)


def _write_once(file: Path | CloudPath, content: bytes) -> bool:
    """Write a file unless it exists; return whether it was written."""
    if isinstance(file, S3Path):
        return _put_once(file, content)
    if isinstance(file, CloudPath):
        raise ReleaseError(f"{file}: a release store is a folder or s3://")
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = _write_scratch(file, content)
    try:
        os.link(scratch, file)
    except FileExistsError:
        return False
    finally:
        scratch.unlink()
    return True


def _write_scratch(file: Path, content: bytes) -> Path:
    with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as scratch:
        scratch.write(content)
        scratch.flush()
        os.fsync(scratch.fileno())
    path = Path(scratch.name)
    path.chmod(0o644)  # a temporary file is readable by its owner alone
    return path


def _put_once(file: S3Path, content: bytes) -> bool:
    from botocore.exceptions import ClientError  # noqa: PLC0415 - needed for S3 only

    try:
        file.client.client.put_object(
            Bucket=file.bucket, Key=file.key, Body=content, IfNoneMatch="*"
        )
    except ClientError as error:
        if error.response["Error"]["Code"] in {"PreconditionFailed", "ConditionalRequestConflict"}:
            return False
        raise
    return True
