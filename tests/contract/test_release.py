"""The manifest: what is read of a release, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from contract.errors import ReleaseError
from contract.release import (
    MANIFEST_FILE,
    Column,
    ColumnProfile,
    Manifest,
    list_files,
    load_release,
)

COLUMN = Column(
    name="Rooms",
    type="long",
    role="number",
    required=True,
    profile=ColumnProfile(missing_fraction=0.0),
)


def write_release(folder: Path, version: str = "1", content: bytes = b"a graph") -> Path:
    """Write a release whose graph nobody loads."""
    (folder / "deep").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(content)
    (folder / "packed.onnx").write_bytes(content)
    (folder / "deep/notes.txt").write_text("notes")
    manifest = Manifest(
        model="houses",
        version=version,
        created_at="2026-01-01T00:00:00+00:00",
        run_id="r",
        family="ridge",
        params={"alpha": 1},
        validation_metrics={"RMSE": 1.0},
        test_metrics=None,
        data_digest="d",
        git_commit=None,
        mlflow_version="3",
        label="Price",
        missing_values=("NA",),
        columns=(COLUMN,),
        files=list_files(folder),
    )
    (folder / MANIFEST_FILE).write_bytes(manifest.to_bytes())
    return folder


def change(folder: Path, **fields: Any) -> None:
    file = folder / MANIFEST_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def test_a_release_is_read_with_all_its_files(tmp_path: Path) -> None:
    release = load_release(write_release(tmp_path / "r"))

    assert release.files == {
        "model.onnx": b"a graph",
        "packed.onnx": b"a graph",
        "deep/notes.txt": b"notes",
    }
    assert release.manifest.columns[0].name == "Rooms"


def test_what_mlflow_adds_on_download_is_no_stranger(tmp_path: Path) -> None:
    (write_release(tmp_path / "r") / "registered_model_meta").write_text("")

    assert load_release(tmp_path / "r").name == "houses version 1"


def _tamper(folder: Path) -> str:
    (folder / "model.onnx").write_bytes(b"b graph")
    return "model.onnx differs"


def _lose(folder: Path) -> str:
    (folder / "deep/notes.txt").unlink()
    return "deep/notes.txt is missing"


def _add(folder: Path) -> str:
    (folder / "deep/code.py").write_text("")
    return "deep/code.py is not listed"


def _leave(folder: Path) -> str:
    change(folder, files=[{"path": "../outside", "sha256": "0" * 64, "size": 1}])
    return "a path that leaves the release's folder"


def _link(folder: Path) -> str:
    (folder.parent / "outside").write_bytes(b"a graph")
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to(folder.parent / "outside")
    return "model.onnx leads out of the release's folder"


def _foreign(folder: Path) -> str:
    (folder / MANIFEST_FILE).unlink()
    (folder / "MLmodel").write_text(
        "flavors:\n  python_function:\n    a: b\n  sklearn:\n    c: d\n"
    )
    return "an MLflow model of flavour sklearn"


def _format(folder: Path) -> str:
    change(folder, format="pickle")
    return "format: Input should be 'onnx'"


def _future(folder: Path) -> str:
    change(folder, manifest_version=2)
    return "manifest_version: Input should be 1"


def _no_json(folder: Path) -> str:
    (folder / MANIFEST_FILE).write_bytes(b"\xff{")
    return "Invalid JSON"


@pytest.mark.parametrize(
    "damage", [_tamper, _lose, _add, _leave, _link, _foreign, _format, _future, _no_json]
)
def test_a_release_that_is_not_whole_is_refused_by_name(tmp_path: Path, damage: Any) -> None:
    folder = write_release(tmp_path / "r")
    reason = damage(folder)

    with pytest.raises(ReleaseError) as error:
        load_release(folder)

    assert reason in str(error.value)
    assert "\n" not in str(error.value)
