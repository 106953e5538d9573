"""What a parent run stores of a training: tables, settings, and code that is complete."""

import json
import re
from pathlib import Path

from contract.paths import PROJECT_ROOT
from contract.settings.loader import Settings
from training.data.dataset import read_training, split
from training.runs.training_artifacts import LOGGED_CODE, write_artifacts


def test_logged_code_imports_no_package_that_is_not_logged() -> None:
    own = {file.parent.name for file in PROJECT_ROOT.glob("*/__init__.py")}
    imported = {
        name
        for part in LOGGED_CODE
        for file in (PROJECT_ROOT / part).rglob("*.py")
        for name in re.findall(r"^\s*(?:from|import) (\w+)", file.read_text(), flags=re.M)
    }

    assert imported & own <= set(LOGGED_CODE)


def test_tables_settings_and_code_are_written(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "artifacts"
    data_split = split(read_training(settings), settings)

    write_artifacts(folder, settings, data_split, None)

    names = {path.name for path in folder.iterdir()}
    assert names == {"train.csv", "val.csv", "settings.json", "code"}
    assert "tracking" not in json.loads((folder / "settings.json").read_text())
    for part in LOGGED_CODE:
        assert (folder / "code" / part).exists()
    assert not list(folder.rglob("__pycache__"))
