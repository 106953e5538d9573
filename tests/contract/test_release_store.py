"""The release store, in a folder and in S3."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from cloudpathlib import S3Client
from moto.server import ThreadedMotoServer

import contract.release_store
from contract.errors import ReleaseError
from contract.release import MANIFEST_FILE
from contract.release_store import ReleaseStore
from tests.contract.test_release import write_release


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "none")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "none")
        patch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        patch.delenv("AWS_CA_BUNDLE", raising=False)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setattr(S3Client, "_default_client", None)  # another test's
        place = {"LocationConstraint": "eu-west-1"}
        boto3.client("s3").create_bucket(Bucket="releases", CreateBucketConfiguration=place)
        yield "s3://releases/all"
        # Whoever collects it later would warn of its folder.
        folder = S3Client.get_default_client()._cache_tmp_dir
        assert folder
        folder.cleanup()
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ReleaseStore:
    if request.param == "s3":
        place = f"{request.getfixturevalue('bucket')}/{tmp_path.name}"
        return ReleaseStore(place, "houses")
    return ReleaseStore(str(tmp_path / "store"), "houses")


def test_what_is_put_in_comes_out(store: ReleaseStore, tmp_path: Path) -> None:
    assert store.list_versions() == []
    store.add(write_release(tmp_path / "two", "10"))
    added = store.add(write_release(tmp_path / "one", "9"))

    assert store.list_versions() == ["9", "10"]
    assert store.download("9", tmp_path / "copy") == added
    assert (tmp_path / "copy/deep/notes.txt").read_text() == "notes"


def test_a_version_is_never_replaced(store: ReleaseStore, tmp_path: Path) -> None:
    folder = write_release(tmp_path / "one")
    first = store.add(folder)

    assert store.add(folder) == first
    with pytest.raises(ReleaseError, match="holds another release"):
        store.add(write_release(tmp_path / "two", content=b"another"))
    assert store.download("1", tmp_path / "copy") == first


def test_two_at_once_are_one_release(
    store: ReleaseStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both found no manifest there; the second one to write it must not win."""
    one, two = (write_release(tmp_path / name, content=name.encode()) for name in ("a", "b"))
    write_once = contract.release_store._write_once

    def late(place: Path, content: bytes) -> bool:
        monkeypatch.undo()
        ReleaseStore(store.uri, "houses").add(two)
        return write_once(place, content)

    monkeypatch.setattr(contract.release_store, "_write_once", late)
    with pytest.raises(ReleaseError, match="holds another release"):
        store.add(one)


def test_a_release_without_its_manifest_is_none(store: ReleaseStore, tmp_path: Path) -> None:
    store.add(write_release(tmp_path / "one"))
    (store._root / "1" / MANIFEST_FILE).unlink()

    assert store.list_versions() == []
    with pytest.raises(ReleaseError, match=r"no version 1 \(there are: none yet\)"):
        store.download("1", tmp_path / "copy")


def test_a_changed_file_is_not_fetched(store: ReleaseStore, tmp_path: Path) -> None:
    store.add(write_release(tmp_path / "one"))
    (store._root / "1" / "model.onnx").write_bytes(b"other")

    with pytest.raises(ReleaseError, match=r"model\.onnx differs"):
        store.download("1", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_the_champion_is_a_version_that_is_there(store: ReleaseStore, tmp_path: Path) -> None:
    store.add(write_release(tmp_path / "one"))
    assert store.get_champion() is None

    with pytest.raises(ReleaseError, match="no version 2"):
        store.promote("2")
    store.promote("1")
    assert store.get_champion() == "1"


def test_a_bucket_that_is_not_there_is_one_line(bucket: str, tmp_path: Path) -> None:
    store = ReleaseStore("s3://no-such-bucket/all", "houses")

    with pytest.raises(ReleaseError, match="NoSuchBucket") as error:
        store.add(write_release(tmp_path / "one"))
    assert "\n" not in str(error.value)
