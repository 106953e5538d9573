"""Reading saved images: the format of podman and older docker, and that of docker since 25."""

import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from contract.errors import StackError
from scripts.local import image_archive
from scripts.local.image_archive import ImageArchive, saved_image
from tests.images import ENGINE, build_small, needs_engine

LAYERS = (b"first layer", b"second layer" * 1000)
DIFF_IDS = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in LAYERS]
CONFIG = json.dumps(
    {
        "architecture": "arm64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": DIFF_IDS},
    }
).encode()


def _archive(folder: Path, members: dict[str, bytes], links: dict[str, str]) -> tarfile.TarFile:
    file = folder / "image.tar"
    with tarfile.open(file, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, target in links.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return tarfile.open(file)


def _check(image: ImageArchive) -> None:
    assert image.config == CONFIG
    assert image.platform == "linux/arm64"
    assert image.diff_ids == DIFF_IDS
    for diff_id, layer in zip(DIFF_IDS, LAYERS, strict=True):
        blob = image.extract_layer(diff_id)
        content = blob.file.read_bytes()
        assert gzip.decompress(content) == layer
        assert blob.digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
        assert blob.size == len(content)


def test_uncompressed_layers_behind_links_are_compressed(tmp_path: Path) -> None:
    manifest = [{"Config": "config.json", "Layers": ["one/layer.tar", "two/layer.tar"]}]
    members = {
        "manifest.json": json.dumps(manifest).encode(),
        "config.json": CONFIG,
        "1.tar": LAYERS[0],
        "two/layer.tar": LAYERS[1],
    }
    with _archive(tmp_path, members, {"one/layer.tar": "../1.tar"}) as archive:
        _check(ImageArchive(archive, tmp_path))


def test_compressed_layers_of_newer_docker_are_not_compressed_again(tmp_path: Path) -> None:
    layers = [f"blobs/sha256/{number}" for number in range(2)]
    manifest = [{"Config": "blobs/sha256/config", "Layers": layers, "RepoTags": ["name:tag"]}]
    members = {
        "blobs/sha256/config": CONFIG,
        **{name: gzip.compress(layer) for name, layer in zip(layers, LAYERS, strict=True)},
        "index.json": b"{}",
        "manifest.json": json.dumps(manifest).encode(),
    }
    with _archive(tmp_path, members, {}) as archive:
        _check(ImageArchive(archive, tmp_path))


def test_layer_is_always_compressed_to_the_same_bytes(tmp_path: Path) -> None:
    manifest = [{"Config": "config.json", "Layers": ["0.tar", "1.tar"]}]
    members = {"manifest.json": json.dumps(manifest).encode(), "config.json": CONFIG}
    members |= {f"{number}.tar": layer for number, layer in enumerate(LAYERS)}
    with _archive(tmp_path, members, {}) as archive:
        image = ImageArchive(archive, tmp_path)

        assert image.extract_layer(DIFF_IDS[1]).digest == image.extract_layer(DIFF_IDS[1]).digest


@needs_engine
def test_saved_image_is_removed_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_archive, "PROJECT_ROOT", tmp_path)
    name = build_small("localhost/stack-test:saved", tmp_path, os.urandom(100), b"code")

    with saved_image(ENGINE, name, "linux/amd64") as image:
        assert image.platform.startswith("linux/")
        assert len(image.diff_ids) == 2

    assert not list((tmp_path / ".local").iterdir())


@needs_engine
def test_missing_image_is_reported_in_one_line() -> None:
    with (
        pytest.raises(StackError, match=f"^{ENGINE} save localhost/no-such-image: .*") as error,
        saved_image(ENGINE, "localhost/no-such-image", "linux/amd64"),
    ):
        pass
    assert "\n" not in str(error.value)
