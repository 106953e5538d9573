"""The release store in a folder and in S3."""

import json
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
        patch.setattr(S3Client, "_default_client", None)  # one that another test created
        place = {"LocationConstraint": "eu-west-1"}
        boto3.client("s3").create_bucket(Bucket="releases", CreateBucketConfiguration=place)
        yield "s3://releases/all"
        # The garbage collector would warn about its folder.
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


def test_added_releases_are_listed_and_downloaded(store: ReleaseStore, tmp_path: Path) -> None:
    assert store.list_versions() == []
    store.add(write_release(tmp_path / "two", "10"))
    added = store.add(write_release(tmp_path / "one", "9"))

    assert store.list_versions() == ["9", "10"]
    assert store.download("9", tmp_path / "copy") == added
    assert (tmp_path / "copy/deep/notes.txt").read_text() == "notes"


def test_manifest_of_an_older_version_is_stored_as_it_is(
    store: ReleaseStore, tmp_path: Path
) -> None:
    """Fields that were added to the manifest since then would change the release's digest."""
    folder = write_release(tmp_path / "one")
    fields = json.loads((folder / MANIFEST_FILE).read_bytes())
    del fields["images"]
    (folder / MANIFEST_FILE).write_text(json.dumps(fields))

    added = store.add(folder)

    assert store.add(folder) == added
    assert store.load_manifest("1") == (added.manifest, added.digest)
    assert store.download("1", tmp_path / "copy") == added


def test_version_is_never_replaced(store: ReleaseStore, tmp_path: Path) -> None:
    folder = write_release(tmp_path / "one")
    first = store.add(folder)

    assert store.add(folder) == first
    with pytest.raises(ReleaseError, match="contains another release"):
        store.add(write_release(tmp_path / "two", content=b"another"))
    assert store.download("1", tmp_path / "copy") == first


def test_concurrent_adds_keep_the_first_manifest(
    store: ReleaseStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both writers found no manifest; the second one to write it must not replace the first."""
    first, second = (write_release(tmp_path / name, content=name.encode()) for name in ("a", "b"))
    write_once = contract.release_store._write_once

    def add_another_first(file: Path, content: bytes) -> bool:
        monkeypatch.undo()
        ReleaseStore(store.uri, "houses").add(second)
        return write_once(file, content)

    monkeypatch.setattr(contract.release_store, "_write_once", add_another_first)
    with pytest.raises(ReleaseError, match="contains another release"):
        store.add(first)


def test_release_without_manifest_is_not_listed(store: ReleaseStore, tmp_path: Path) -> None:
    store.add(write_release(tmp_path / "one"))
    (store._root / "1" / MANIFEST_FILE).unlink()

    assert store.list_versions() == []
    with pytest.raises(ReleaseError, match=r"no version 1 \(available: none yet\)"):
        store.download("1", tmp_path / "copy")


def test_changed_file_is_not_downloaded(store: ReleaseStore, tmp_path: Path) -> None:
    store.add(write_release(tmp_path / "one"))
    (store._root / "1" / "model.onnx").write_bytes(b"other")

    with pytest.raises(ReleaseError, match=r"model\.onnx doesn't match"):
        store.download("1", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_champion_is_an_existing_version(store: ReleaseStore, tmp_path: Path) -> None:
    store.add(write_release(tmp_path / "one"))
    assert store.get_champion() is None

    with pytest.raises(ReleaseError, match="no version 2"):
        store.promote("2")
    store.promote("1")
    assert store.get_champion() == "1"


def test_missing_bucket_is_reported_in_one_line(bucket: str, tmp_path: Path) -> None:
    store = ReleaseStore("s3://no-such-bucket/all", "houses")

    with pytest.raises(ReleaseError, match="NoSuchBucket") as error:
        store.add(write_release(tmp_path / "one"))
    assert "\n" not in str(error.value)
