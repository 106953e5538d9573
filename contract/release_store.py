"""The release store: `releases/<model>/<version>/` in a folder or in S3.

A release is there once its `manifest.json` is, which is written last and never again. A
`get_champion.json` beside the versions points to the one that is to be deployed.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from cloudpathlib import AnyPath, CloudPath, S3Path

from contract.errors import ReleaseError
from contract.release import (
    MANIFEST_FILE,
    Manifest,
    Release,
    load_release,
    parse_manifest,
    sha256_hex,
)

CHAMPION = "champion.json"


class ReleaseStore:
    """The releases of one model."""

    def __init__(self, uri: str, model: str) -> None:
        """Name the place; nothing is made or asked yet.

        Args:
            uri: A folder or an `s3://` URI.
            model: The model's name.
        """
        self.model = model
        self.uri = uri
        self._root: Path | CloudPath = AnyPath(uri) / model

    def list_versions(self) -> list[str]:
        """Return the versions that are there whole, the latest last."""
        with self._errors():
            found = [
                one.name
                for one in (self._root.iterdir() if self._root.exists() else [])
                if one.name.isdigit() and (one / MANIFEST_FILE).exists()
            ]
        return sorted(found, key=int)

    def load_manifest(self, version: str) -> tuple[Manifest, str]:
        """Return a release's manifest and digest.

        Raises:
            ReleaseError: There is no such version.
        """
        place = self._root / version / MANIFEST_FILE
        with self._errors():
            if not version.isdigit() or not place.exists():
                known = ", ".join(self.list_versions()) or "none yet"
                raise ReleaseError(f"{self.model}: no version {version} (there are: {known})")
            content = place.read_bytes()
        return parse_manifest(content, str(place)), sha256_hex(content)

    def add(self, folder: Path) -> Release:
        """Put a release in, manifest last; the same one again is no change.

        Raises:
            ReleaseError: The folder is no whole release, or its version holds another one.
        """
        release = load_release(folder)
        target = self._root / release.manifest.version
        with self._errors():
            if (target / MANIFEST_FILE).exists():
                return self._same(target, release)
            for name, content in release.files.items():
                _write(target / PurePosixPath(name), content)
            if not _write_once(target / MANIFEST_FILE, release.manifest.to_bytes()):
                return self._same(target, release)
        return release

    def download(self, version: str, folder: Path) -> Release:
        """Copy a release into a folder that isn't there yet, every file checked.

        Raises:
            ReleaseError: There is no such version, or a file of it was changed.
        """
        manifest, _ = self.load_manifest(version)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            copy = Path(scratch) / version
            with self._errors():
                for name in [*(one.path for one in manifest.files), MANIFEST_FILE]:
                    (copy / name).parent.mkdir(parents=True, exist_ok=True)
                    (copy / name).write_bytes((self._root / version / name).read_bytes())
            release = load_release(copy)
            # Another process may have put the same one there.
            if not folder.exists():
                copy.rename(folder)
        return release

    def get_champion(self) -> str | None:
        """Return the version that is to be deployed, None before there is one."""
        place = self._root / CHAMPION
        with self._errors():
            if not place.exists():
                return None
            try:
                return str(json.loads(place.read_bytes())["version"])
            except (ValueError, KeyError, TypeError):
                raise ReleaseError(f"{place}: can't be read") from None

    def promote(self, version: str) -> None:
        """Make a version the champion.

        Raises:
            ReleaseError: There is no such version.
        """
        _, digest = self.load_manifest(version)
        content = json.dumps({"version": version, "sha256": digest}, indent=2) + "\n"
        with self._errors():
            _write(self._root / CHAMPION, content.encode())

    def _same(self, target: Path | CloudPath, release: Release) -> Release:
        if (target / MANIFEST_FILE).read_bytes() != release.manifest.to_bytes():
            raise ReleaseError(f"{target}: holds another release; a version is never replaced")
        return release

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except ReleaseError:
            raise
        except OSError as error:
            raise ReleaseError(f"{self.uri}: {error.strerror or error}") from None
        except Exception as error:
            # S3 fails in botocore's ways, which are no common tree; a folder has none of them.
            if isinstance(self._root, Path):
                raise
            raise ReleaseError(f"{self.uri}: {' '.join(str(error).split())}") from None


def _write(place: Path | CloudPath, content: bytes) -> None:
    """Write a file whole or not at all."""
    if isinstance(place, CloudPath):
        place.write_bytes(content)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    scratch = _scratch(place, content)
    scratch.replace(place)


def _write_once(place: Path | CloudPath, content: bytes) -> bool:
    """Write a file unless it is there; tell whether it was written."""
    if isinstance(place, S3Path):
        return _put_once(place, content)
    if isinstance(place, CloudPath):
        raise ReleaseError(f"{place}: a release store is a folder or s3://")
    place.parent.mkdir(parents=True, exist_ok=True)
    scratch = _scratch(place, content)
    try:
        os.link(scratch, place)
    except FileExistsError:
        return False
    finally:
        scratch.unlink()
    return True


def _scratch(place: Path, content: bytes) -> Path:
    with tempfile.NamedTemporaryFile(dir=place.parent, delete=False) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).chmod(0o644)
    return Path(file.name)


def _put_once(place: S3Path, content: bytes) -> bool:
    from botocore.exceptions import ClientError  # noqa: PLC0415 - only where there is S3

    try:
        place.client.client.put_object(
            Bucket=place.bucket, Key=place.key, Body=content, IfNoneMatch="*"
        )
    except ClientError as error:
        if error.response["Error"]["Code"] in {"PreconditionFailed", "ConditionalRequestConflict"}:
            return False
        raise
    return True
