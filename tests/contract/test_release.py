"""Loading a release: which folders are accepted, and which are refused by which message."""

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
    role="numeric",
    required=True,
    profile=ColumnProfile(missing_fraction=0.0),
)


def write_release(folder: Path, version: str = "1", content: bytes = b"a graph") -> Path:
    """Write a release with a placeholder in place of the graph."""
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


def test_release_is_loaded_with_all_its_files(tmp_path: Path) -> None:
    release = load_release(write_release(tmp_path / "r"))

    assert release.files == {
        "model.onnx": b"a graph",
        "packed.onnx": b"a graph",
        "deep/notes.txt": b"notes",
    }
    assert release.manifest.columns[0].name == "Rooms"


def test_file_that_mlflow_adds_on_download_is_ignored(tmp_path: Path) -> None:
    (write_release(tmp_path / "r") / "registered_model_meta").write_text("")

    assert load_release(tmp_path / "r").name == "houses version 1"


def _change_file(folder: Path) -> str:
    (folder / "model.onnx").write_bytes(b"b graph")
    return "model.onnx doesn't match its SHA-256"


def _remove_file(folder: Path) -> str:
    (folder / "deep/notes.txt").unlink()
    return "deep/notes.txt is missing"


def _add_file(folder: Path) -> str:
    (folder / "deep/code.py").write_text("")
    return "deep/code.py is not listed"


def _list_path_outside(folder: Path) -> str:
    change(folder, files=[{"path": "../outside", "sha256": "0" * 64, "size": 1}])
    return "the path is outside the release's folder"


def _link_outside(folder: Path) -> str:
    (folder.parent / "outside").write_bytes(b"a graph")
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to(folder.parent / "outside")
    return "model.onnx links to a file outside the release's folder"


def _replace_with_mlflow_model(folder: Path) -> str:
    (folder / MANIFEST_FILE).unlink()
    (folder / "MLmodel").write_text(
        "flavors:\n  python_function:\n    a: b\n  sklearn:\n    c: d\n"
    )
    return "an MLflow model of flavor sklearn"


def _set_other_format(folder: Path) -> str:
    change(folder, format="pickle")
    return "format: Input should be 'onnx'"


def _set_later_version(folder: Path) -> str:
    change(folder, manifest_version=2)
    return "manifest_version: Input should be 1"


def _set_invalid_image(folder: Path) -> str:
    change(folder, images={"serve": "latest"})
    return "images.serve: String should match pattern"


def _write_invalid_json(folder: Path) -> str:
    (folder / MANIFEST_FILE).write_bytes(b"\xff{")
    return "Invalid JSON"


@pytest.mark.parametrize(
    "damage",
    [
        _change_file,
        _remove_file,
        _add_file,
        _list_path_outside,
        _link_outside,
        _replace_with_mlflow_model,
        _set_other_format,
        _set_later_version,
        _set_invalid_image,
        _write_invalid_json,
    ],
)
def test_invalid_release_is_refused_with_the_name_of_the_file(tmp_path: Path, damage: Any) -> None:
    folder = write_release(tmp_path / "r")
    reason = damage(folder)

    with pytest.raises(ReleaseError) as error:
        load_release(folder)

    assert reason in str(error.value)
    assert "\n" not in str(error.value)
