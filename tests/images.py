"""The container engine, for tests that build and run the images."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from contract.errors import StackError
from contract.names import Image
from contract.paths import PROJECT_ROOT
from endpoints.container_engine import IMAGE_NAMES, find_engine


def _find_engine_or_empty() -> str:
    try:
        return find_engine()
    except StackError:
        return ""


ENGINE = _find_engine_or_empty()
needs_engine = pytest.mark.skipif(
    not ENGINE, reason="no container engine works: the images are not tested"
)


def engine(
    *arguments: str, check: bool = True, environment: Mapping[str, str] | None = None
) -> str:
    """Run a command of the container engine and return its output."""
    done = subprocess.run(
        [ENGINE, *arguments],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout.strip()


def build(image: Image) -> str:
    """Build an image as `make build` does, and return its name."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.build", image],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return IMAGE_NAMES[image]


def build_small(name: str, folder: Path, *contents: bytes) -> str:
    """Build an image with one layer per content, on no base image, and return its name."""
    lines = ["FROM scratch"]
    for number, content in enumerate(contents):
        (folder / f"file-{number}").write_bytes(content)
        lines.append(f"COPY file-{number} /")
    (folder / "Dockerfile").write_text("\n".join(lines))
    engine("build", f"--tag={name}", str(folder))
    return name
