"""Reading an image out of a container engine, as the archive that `docker save` writes.

All engines write the same format, and it contains no registry's manifest: whatever format the
engine keeps its images in, the manifest that is pushed is this project's own (scripts/aws/ecr.py).
https://github.com/moby/moby/blob/master/image/spec/spec.md#combined-image-json--filesystem-changeset-format
"""

import hashlib
import json
import subprocess
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from contract.errors import StackError
from contract.paths import PROJECT_ROOT

GZIP_MAGIC = b"\x1f\x8b"
GZIP_LEVEL = 4
"""Half the time of the default level, for files that are 3 % larger."""
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Blob:
    """A file with the digest that a registry addresses it by."""

    file: Path
    digest: str
    """`sha256:` and the SHA-256 in hex."""
    size: int
    """Bytes."""


class ImageArchive:
    """An image in the archive format of `docker save`."""

    def __init__(self, archive: tarfile.TarFile, folder: Path) -> None:
        """Read the image's configuration.

        Args:
            archive: The archive, which has to stay open.
            folder: Where the layers are extracted to.
        """
        self._archive, self._folder = archive, folder
        (entry,) = json.loads(_read(archive, "manifest.json"))
        self._members: list[str] = entry["Layers"]
        self.config = _read(archive, entry["Config"])
        """The image's configuration, whose digest is the image's id."""
        content = json.loads(self.config)
        self.platform = f"{content['os']}/{content['architecture']}"
        """The platform that the image runs on, such as `linux/amd64`."""
        self.diff_ids: list[str] = content["rootfs"]["diff_ids"]
        """The digest of each uncompressed layer."""

    def extract_layer(self, diff_id: str) -> Blob:
        """Extract a layer as a gzip file, and return the file."""
        member = self._members[self.diff_ids.index(diff_id)]
        file = self._folder / f"{diff_id.partition(':')[2]}.tar.gz"
        digest = hashlib.sha256()
        with _open(self._archive, member) as source, file.open("wb") as target:
            for chunk in _compress(source):
                digest.update(chunk)
                target.write(chunk)
        return Blob(file, f"sha256:{digest.hexdigest()}", file.stat().st_size)


@contextmanager
def saved_image(engine: str, name: str, platform: str) -> Iterator[ImageArchive]:
    """Save an image to a temporary file, and yield it.

    Args:
        engine: The container engine's command.
        name: The image's local name.
        platform: The platform that the image was built for.

    Raises:
        StackError: The engine can't save the image.
    """
    # Not the system's temporary folder, which can be a memory of half a gigabyte.
    scratch = PROJECT_ROOT / ".local"
    scratch.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix="image-", dir=scratch) as folder:
        file = Path(folder) / "image.tar"
        # nerdctl saves this machine's platform unless another one is named.
        options = [f"--platform={platform}"] if engine == "finch" else []
        with file.open("wb") as output:
            done = subprocess.run(
                [engine, "save", *options, name], stdout=output, stderr=subprocess.PIPE, check=False
            )
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise StackError(f"{engine} save {name}: {reason}")
        with tarfile.open(file) as archive:
            yield ImageArchive(archive, Path(folder))


def _compress(source: IO[bytes]) -> Iterator[bytes]:
    """Yield a layer compressed by gzip; newer versions of docker save it so already."""
    chunk = source.read(CHUNK_BYTES)
    compressed = chunk.startswith(GZIP_MAGIC)
    # No name and no time in the header, so that a layer is always compressed to the same bytes.
    compressor = zlib.compressobj(GZIP_LEVEL, wbits=16 + zlib.MAX_WBITS)
    while chunk:
        yield chunk if compressed else compressor.compress(chunk)
        chunk = source.read(CHUNK_BYTES)
    if not compressed:
        yield compressor.flush()


def _open(archive: tarfile.TarFile, member: str) -> IO[bytes]:
    file = archive.extractfile(member)  # follows links to another member
    if file is None:
        raise StackError(f"the engine saved the image without the file {member}")
    return file


def _read(archive: tarfile.TarFile, member: str) -> bytes:
    with _open(archive, member) as file:
        return file.read()
