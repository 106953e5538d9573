"""The fingerprint changes with what affects results, and with nothing else."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grimp
import pytest
from pydantic import BaseModel

from contract.paths import PROJECT_ROOT
from contract.settings.loader import Settings, load_settings
from tests.helpers import write_settings
from training.data.dataset import read_test, read_training, split
from training.runs.fingerprint import CODE, code_digest, fingerprint
from training.search.grid import plan_grids

CHANGES: dict[str, tuple[Any, bool]] = {
    "data.train": ("same.csv", False),
    "data.test": ("same_test.csv", False),
    "data.test_labels": ("same_prices.csv", False),
    "data.label": ("LotArea", True),
    "data.id": ("", True),
    "data.drop": (["Street"], True),
    "data.missing_values": (["NA", "", "?"], True),
    "data.validation_fraction": (0.3, True),
    "data.seed": (7, True),
    "data.categorical": (["MSSubClass", "OverallQual"], True),
    "data.missing_as_category": (["Alley"], True),
    "features.n_neighbors": (3, True),
    "features.max_donors": (50, True),
    "training.experiment": ("another", False),
    "training.families": (["ridge", "elasticnet"], True),
    "training.metric": ("MAPE", True),
    "training.instances": (2, False),
    "training.volume_gb": (50, False),
    "training.max_hours": (3, False),
    "training.spot": (True, False),
    "training.max_wait_hours": (12, False),
    "tracking.uri": ("sqlite:///another.db", False),
    "tracking.run_id": ("0123", False),
    "release.model": ("another", False),
    "release.store": ("another", False),
    "serving.endpoint": ("another", False),
    "serving.port": (9090, False),
    "serving.workers": (3, False),
    "serving.log_requests": (False, False),
    "serving.max_body_mb": (1, False),
    "serving.body_timeout_seconds": (5, False),
    "grids.ridge": ({"alpha": [3], "fit_intercept": [True]}, True),
    "stage": ("prod", False),
    "infra.region": ("eu-central-1", False),
    "stages.dev": ({"endpoint": "another"}, False),
}
"""Every settings key: another value, and whether results depend on it. A new key is added here."""

MODULES = {
    "contract/names.py": False,
    "contract/settings/stage.py": False,
    "contract/release.py": False,
    "contract/errors.py": False,
    "training/data/features.py": True,
    "training/data/tables.py": True,
    "training/families/ridge.py": True,
    "training/search/grid.py": True,
    "training/search/shards.py": False,
    "training/search/worker.py": False,
    "training/cluster.py": False,
    "training/leaderboard.py": True,
    "training/plan.py": True,
    "training/metrics.py": True,
    "training/params.py": True,
    "training/train.py": True,
    "training/runs/skops_file.py": True,
    "training/runs/mlflow_client.py": False,
    "training/export/onnx_export.py": False,
    "training/release.py": False,
    "serving/app.py": False,
    "endpoints/local.py": False,
    "infra/app.py": False,
    "mlflow_server/server.py": False,
    "scripts/train.py": False,
    "training_job/job.py": False,
    "aws/account.py": False,
    "benchmarks/training.py": False,
}
"""Modules of every package, and whether results depend on them."""


def _fingerprint(settings: Settings) -> str:
    data = read_training(settings)
    test = read_test(settings, data)
    return fingerprint(settings, plan_grids(settings), split(data, settings), test)


def _keys() -> Iterator[str]:
    """Yield every settings key; of free-form sections the section itself."""
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from (f"{name}.{key}" for key in field.annotation.model_fields)
        else:
            yield name


def test_every_settings_key_is_classified() -> None:
    free_form = {"grids", "infra", "stages"}
    named = {key if key.split(".")[0] not in free_form else key.split(".")[0] for key in CHANGES}
    assert named == set(_keys())


@pytest.fixture
def original(folder: Path) -> str:
    for source, copy in (("train", "same"), ("test", "same_test"), ("test_prices", "same_prices")):
        shutil.copy(folder / f"{source}.csv", folder / f"{copy}.csv")
    return _fingerprint(load_settings(folder / "settings.toml"))


@pytest.mark.parametrize("key", CHANGES)
def test_only_settings_that_affect_results_change_it(
    folder: Path, original: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    value, affects = CHANGES[key]
    section, _, name = key.partition(".")
    if section == "grids":
        file = write_settings(folder, grids__ridge=value)
    elif section == "infra":
        file = write_settings(folder, infra={name: value})
    elif section == "stages":
        file = write_settings(folder, stages__dev=value)
    elif not name:
        file = folder / "settings.toml"
        monkeypatch.setenv(f"STACK_{key.upper()}", value)
    elif key in {"data.label", "data.id"}:  # the test table fits the original ones only
        alone = {"test": "", "test_labels": ""}
        original = _fingerprint(load_settings(write_settings(folder, data=alone)))
        file = write_settings(folder, data={**alone, name: value})
    else:
        file = write_settings(folder, **{section: {name: value}})

    assert (_fingerprint(load_settings(file)) != original) is affects


def test_changed_rows_change_it(folder: Path, original: str) -> None:
    table = folder / "train.csv"
    table.write_text(table.read_text().rstrip() + "1\n")

    assert _fingerprint(load_settings(folder / "settings.toml")) != original


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    for package in {name.split("/")[0] for name in MODULES}:
        shutil.copytree(PROJECT_ROOT / package, root / package)
    return root


@pytest.mark.parametrize("module", MODULES)
def test_only_modules_that_compute_change_it(copy: Path, module: str) -> None:
    before = code_digest(copy)
    file = copy / module
    text = file.read_text()
    file.write_text(f"{text}\n# changed\n")

    changed = code_digest(copy) != before

    file.write_text(text)
    assert changed is MODULES[module]


def test_every_module_that_the_fits_import_is_covered() -> None:
    """A new module that computes can't be forgotten in CODE."""
    graph = grimp.build_graph("training", "contract")
    imported = graph.find_upstream_modules("training.search.grid") | {"training.search.grid"}
    computing = {name for name in imported if name.startswith("training.")}
    for module in computing:
        path = module.replace(".", "/")
        covered = any(f"{path}.py" == name or path.startswith(name) for name in CODE)
        assert covered or module == "training.search", module
