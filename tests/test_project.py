"""What holds for the project as a whole: locks, environment files, the front door, a new family."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import mlflow
import pytest
import yaml

from contract.paths import PROJECT_ROOT
from tests.helpers import run

LOCKS = sorted((PROJECT_ROOT / "requirements").glob("*.txt"))


def _pins(lock: Path) -> dict[str, set[str]]:
    pins: dict[str, set[str]] = {}
    for line in lock.read_text().splitlines():
        if match := re.match(r"([a-z0-9-]+)(?:\[\w+\])?==(\S+)", line):
            pins.setdefault(match[1], set()).add(match[2])
    return pins


def _make(*arguments: str, cwd: Path = PROJECT_ROOT) -> "subprocess.CompletedProcess[str]":
    """Run make as from a shell, whatever make these tests were started by."""
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    return subprocess.run(
        ["make", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_is_hashed_and_names_no_host(lock: Path) -> None:
    text = lock.read_text()

    assert "://" not in text
    assert "index-url" not in text
    for entry in re.split(r"\n(?=[a-z])", text):
        if "==" in entry:
            assert "--hash=sha256:" in entry, entry


def test_the_locks_agree_and_pin_one_version_for_every_python() -> None:
    train, dev, serve = (
        _pins(PROJECT_ROOT / f"requirements/{name}.txt") for name in ("train", "dev", "serve")
    )

    for name, versions in train.items():
        assert len(versions) == 1, name
        assert dev[name] == versions, name
    for name, versions in serve.items():
        assert train[name] == versions, name


def test_the_serving_image_installs_no_training_library() -> None:
    serve = _pins(PROJECT_ROOT / "requirements/serve.txt")

    assert "onnxruntime" in serve
    unwanted = {"mlflow", "pandas", "scikit-learn", "scipy", "xgboost-cpu", "onnx", "boto3"}
    assert not unwanted & set(serve)


def test_conda_yaml_says_what_the_lock_says() -> None:
    environment = yaml.safe_load((PROJECT_ROOT / "conda.yaml").read_text())
    lock = _pins(PROJECT_ROOT / "requirements/train.txt")
    *conda, pip = environment["dependencies"]
    wanted = dict(re.sub(r"\[\w+\]", "", line).split("==") for line in pip["pip"])

    assert conda == ["python=3.11", "pip"]
    for name, version in wanted.items():
        assert lock[name] == {version}, name
    # All that the training's group asks for, the CUDA-free build of xgboost under its general name.
    group = (PROJECT_ROOT / "pyproject.toml").read_text().split("train = [")[1].split("\n]")[0]
    asked = set(re.findall(r'^\s+"([a-z0-9-]+)', group, flags=re.M)) - {"xgboost-cpu"}
    assert set(wanted) == asked


def test_one_mlflow_version() -> None:
    for name in ("train", "mlflow-server", "dev"):
        assert _pins(PROJECT_ROOT / f"requirements/{name}.txt")["mlflow"] == {mlflow.__version__}
    # Older ones have holes: CVE-2026-4137 was closed in it.
    assert tuple(map(int, mlflow.__version__.split(".")[:2])) >= (3, 11)


def test_make_help_lists_every_target() -> None:
    shown = _make("help").stdout
    phony = re.findall(r"^\.PHONY: (\S+)", (PROJECT_ROOT / "Makefile").read_text(), flags=re.M)

    assert len(phony) > 5
    for target in phony:
        assert re.search(rf"^  make {target} +\S", shown, flags=re.M), target


def test_an_installed_environment_is_not_asked_again(tmp_path: Path) -> None:
    """The stamp decides: as long as it is newer than the lock, make has nothing to do."""
    for name in ("Makefile", "requirements", "scripts"):
        source = PROJECT_ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/.train").touch()

    assert _make("--question", ".venv/.train", cwd=tmp_path).returncode == 0
    (tmp_path / ".venv/.train").unlink()
    assert _make("--question", ".venv/.train", cwd=tmp_path).returncode == 1


def test_a_python_that_is_too_old_is_refused_in_one_line(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.8.18 && exit\nexit 1\n')
    old.chmod(0o755)
    done = _make("train", f"PYTHON={old}", f"VENV={tmp_path}/venv")

    assert done.returncode == 2
    assert done.stderr.startswith("setup: Python 3.8.18 is not supported: 3.11, 3.12 or 3.13 is")


LASSO = '''\
"""Lasso: least squares with an L1 penalty."""

from sklearn.linear_model import Lasso

from training.families.base import Family, Regressor
from training.params import Params


class LassoFamily(Family):
    """scikit-learn's Lasso."""

    grid = {"alpha": (10, 100)}

    def model(self, params: Params, seed: int) -> Regressor:
        """Return an unfitted Lasso."""
        return Lasso(**{"random_state": seed, **params})
'''
LINE = '    "lasso": "training.families.lasso:LassoFamily",\n'


def test_a_family_is_added_with_one_file_and_one_line(folder: Path) -> None:
    """As docs/add-a-family.md tells it, in a copy of the project."""
    guide = (PROJECT_ROOT / "docs/add-a-family.md").read_text()
    assert LASSO in guide
    assert LINE.strip() in guide
    copy = folder / "project"
    for name in ("contract", "training", "endpoints", "scripts"):
        shutil.copytree(PROJECT_ROOT / name, copy / name)
    (copy / "training/families/lasso.py").write_text(LASSO)
    registry = copy / "training/families/__init__.py"
    registry.write_text(registry.read_text().replace("FAMILIES = {\n", f"FAMILIES = {{\n{LINE}"))

    done = run("scripts.train", "--families", "lasso,ridge", folder=folder, cwd=copy)

    assert done.returncode == 0, done.stderr
    assert "lasso alpha=100" in done.stdout
