"""The project as a whole: locks, environment files, imports, the Makefile, and a new family."""

import os
import pkgutil
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
import yaml

from contract.paths import PROJECT_ROOT
from scripts.aws.cdk import NODE
from tests.helpers import run, run_make

LOCKS = sorted((PROJECT_ROOT / "requirements").glob("*.txt"))


def _pins(lock: Path) -> dict[str, set[str]]:
    pins: dict[str, set[str]] = {}
    for line in lock.read_text().splitlines():
        if match := re.match(r"([a-z0-9-]+)(?:\[\w+\])?==(\S+)", line):
            pins.setdefault(match[1], set()).add(match[2])
    return pins


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_lock_is_hashed_and_names_no_host(lock: Path) -> None:
    text = lock.read_text()

    assert "://" not in text
    assert "index-url" not in text
    for entry in re.split(r"\n(?=[a-z])", text):
        if "==" in entry:
            assert "--hash=sha256:" in entry, entry


def test_locks_share_one_version_per_package() -> None:
    train, dev, serve = (
        _pins(PROJECT_ROOT / f"requirements/{name}.txt") for name in ("train", "dev", "serve")
    )

    for name, versions in train.items():
        assert len(versions) == 1, name
        assert dev[name] == versions, name
    for name, versions in serve.items():
        assert train[name] == versions, name


def test_serving_image_installs_no_training_library() -> None:
    serve = _pins(PROJECT_ROOT / "requirements/serve.txt")

    assert "onnxruntime" in serve
    unwanted = {"mlflow", "pandas", "scikit-learn", "scipy", "xgboost-cpu", "onnx", "boto3"}
    assert not unwanted & set(serve)


def test_conda_yaml_has_the_versions_of_the_lock() -> None:
    environment = yaml.safe_load((PROJECT_ROOT / "conda.yaml").read_text())
    lock = _pins(PROJECT_ROOT / "requirements/train.txt")
    *conda, pip = environment["dependencies"]
    wanted = dict(re.sub(r"\[\w+\]", "", line).split("==") for line in pip["pip"])

    assert conda == ["python=3.11", "pip"]
    for name, version in wanted.items():
        assert lock[name] == {version}, name
    # All packages of the group `train`; xgboost's build without CUDA has its general name there.
    group = (PROJECT_ROOT / "pyproject.toml").read_text().split("train = [")[1].split("\n]")[0]
    required = set(re.findall(r'^\s+"([a-z0-9-]+)', group, flags=re.M)) - {"xgboost-cpu"}
    assert set(wanted) == required


def test_all_locks_have_the_same_mlflow() -> None:
    for name in ("train", "mlflow-server", "dev"):
        assert _pins(PROJECT_ROOT / f"requirements/{name}.txt")["mlflow"] == {mlflow.__version__}
    # Earlier versions are vulnerable: 3.11 fixes CVE-2026-4137.
    assert tuple(map(int, mlflow.__version__.split(".")[:2])) >= (3, 11)


def test_make_help_lists_every_target() -> None:
    shown = run_make("help").stdout
    phony = re.findall(r"^\.PHONY: (\S+)", (PROJECT_ROOT / "Makefile").read_text(), flags=re.M)

    assert len(phony) > 5
    for target in phony:
        assert re.search(rf"^  make {target} +\S", shown, flags=re.M), target


def test_installed_lock_is_not_installed_again(tmp_path: Path) -> None:
    """A stamp that is newer than the lock is up to date for make."""
    for name in ("Makefile", "requirements", "scripts"):
        source = PROJECT_ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/.train").touch()

    assert run_make("--question", ".venv/.train", cwd=tmp_path).returncode == 0
    (tmp_path / ".venv/.train").unlink()
    assert run_make("--question", ".venv/.train", cwd=tmp_path).returncode == 1


def test_unsupported_python_is_refused_in_one_line(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.8.18 && exit\nexit 1\n')
    old.chmod(0o755)
    done = run_make("train", f"PYTHON={old}", f"VENV={tmp_path}/venv")

    assert done.returncode == 2
    assert done.stderr.startswith("setup: Python 3.8.18 is not supported; set PYTHON=...")


@pytest.mark.parametrize(
    "name", ["training.data", "training.params", "training.metrics:eval_metrics"]
)
def test_public_training_modules_are_importable(name: str) -> None:
    assert pkgutil.resolve_name(name).__doc__


IMPORT_ALL = """\
import importlib, os, pkgutil, signal

# Libraries that set variables when they are imported, or read those below.
import aws_cdk, mlflow, onnxruntime, sklearn

for name in ("JSII_NODE", "ORT_DISABLE_TELEMETRY"):
    del os.environ[name]


def state():
    return dict(os.environ), {number: signal.getsignal(number) for number in signal.valid_signals()}


before = state()
for top in ("contract", "training", "serving", "endpoints", "mlflow_server", "infra", "scripts"):
    for module in pkgutil.walk_packages(importlib.import_module(top).__path__, f"{top}."):
        importlib.import_module(module.name)
        assert state() == before, module.name
print(module.name)
"""


def test_imports_change_neither_environment_nor_signal_handlers() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL],
        cwd=PROJECT_ROOT,
        env={"JSII_NODE": str(NODE), "ORT_DISABLE_TELEMETRY": "1"} | os.environ,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("scripts.")


def test_interrupt_during_imports_stops_a_command_without_traceback(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")

    done = run("scripts", "train", folder=tmp_path, PYTHONPATH=str(tmp_path))

    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize("name", ["unknown", "unknown.synth"])
def test_unknown_command_is_reported_in_one_line(tmp_path: Path, name: str) -> None:
    done = run("scripts", name, folder=tmp_path)

    assert done.returncode == 2
    assert done.stderr == f"error: no command {name}; make help lists the commands\n"


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


def test_family_is_added_with_one_file_and_one_line(folder: Path) -> None:
    """Follow docs/add-a-family.md in a copy of the project."""
    guide = (PROJECT_ROOT / "docs/add-a-family.md").read_text()
    assert LASSO in guide
    assert LINE.strip() in guide
    copy = folder / "project"
    for name in ("contract", "training", "endpoints", "scripts"):
        shutil.copytree(PROJECT_ROOT / name, copy / name)
    (copy / "training/families/lasso.py").write_text(LASSO)
    registry = copy / "training/family_registry.py"
    registry.write_text(registry.read_text().replace("FAMILIES = {\n", f"FAMILIES = {{\n{LINE}"))

    done = run("scripts.train", "--families", "lasso,ridge", folder=folder, cwd=copy)

    assert done.returncode == 0, done.stderr
    assert "lasso alpha=100" in done.stdout
