"""The content tag of an image: what changes it, and what doesn't."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aws.image_content import image_content_tag
from contract.errors import StackError
from contract.names import Image
from contract.paths import PROJECT_ROOT

AMD64, ARM64 = "linux/amd64", "linux/arm64"
DOCKERFILE = """\
# A comment.
ARG PYTHON=python:3.11
FROM ${PYTHON} AS packages
COPY requirements/serve.txt /requirements/
RUN pip install \\
    # A comment between two lines of an instruction.
    --requirement /requirements/serve.txt

FROM ${PYTHON} AS train
COPY train ./train

FROM ${PYTHON} AS serve
COPY --from=packages /opt/venv /opt/venv
COPY contract serving/*.py ./
"""
FILES = ("requirements/serve.txt", "contract/a.py", "serving/b.py", "serving/b.txt", "train/c.py")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / ".dockerignore").write_text("# all but\n*\n!contract\n!requirements/*.txt\n")
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    with (tmp_path / ".dockerignore").open("a") as file:
        file.write("!serving\n!train\n**/__pycache__\n")
    return tmp_path


def _tag(root: Path, image: Image = Image.SERVE) -> str:
    return image_content_tag(image, AMD64, root)


def test_tag_is_stable_and_valid_in_a_registry(root: Path) -> None:
    tag = _tag(root)

    assert tag == _tag(root)
    assert tag.startswith("content-")
    assert len(tag) == len("content-") + 16


@pytest.mark.parametrize("name", ["requirements/serve.txt", "contract/a.py", "serving/b.py"])
def test_copied_file_changes_the_tag(root: Path, name: str) -> None:
    before = _tag(root)

    (root / name).write_text("changed")

    assert _tag(root) != before


def test_renamed_new_and_executable_files_change_the_tag(root: Path) -> None:
    tags = {_tag(root)}
    (root / "contract/a.py").rename(root / "contract/z.py")
    tags.add(_tag(root))
    (root / "contract/new.py").touch()
    tags.add(_tag(root))
    (root / "contract/new.py").chmod(0o755)
    tags.add(_tag(root))

    assert len(tags) == 4


@pytest.mark.parametrize("name", ["train/c.py", "serving/b.txt", "contract/__pycache__/a.pyc"])
def test_file_that_is_not_copied_does_not_change_the_tag(root: Path, name: str) -> None:
    before = _tag(root)

    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text("changed")

    assert _tag(root) == before


def test_only_its_own_instructions_change_the_tag(root: Path) -> None:
    dockerfile = root / "Dockerfile"
    serve, train = _tag(root), _tag(root, Image.TRAIN)

    dockerfile.write_text(DOCKERFILE.replace("train ./train", "train ./other"))
    assert (_tag(root) == serve, _tag(root, Image.TRAIN) == train) == (True, False)
    dockerfile.write_text(DOCKERFILE.replace("pip install", "pip install --quiet"))
    assert (_tag(root) == serve, _tag(root, Image.TRAIN) == train) == (False, True)
    dockerfile.write_text(DOCKERFILE.replace("A comment", "Another comment"))
    assert (_tag(root) == serve, _tag(root, Image.TRAIN) == train) == (True, True)
    dockerfile.write_text(DOCKERFILE.replace("python:3.11", "python:3.12"))
    assert (_tag(root) == serve, _tag(root, Image.TRAIN) == train) == (False, False)


def test_platform_changes_the_tag(root: Path) -> None:
    assert image_content_tag(Image.SERVE, ARM64, root) != _tag(root)


def test_missing_file_is_reported_in_one_line(root: Path) -> None:
    shutil.rmtree(root / "serving")

    with pytest.raises(StackError, match=r"^Dockerfile: COPY serving/\*\.py: there is no such"):
        _tag(root)


@pytest.mark.parametrize("image", Image)
def test_tag_of_this_project_does_not_depend_on_caches_and_tests(
    tmp_path: Path, image: Image
) -> None:
    """A copy of the files in git has the same content."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if not name.startswith("tests/") and (PROJECT_ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT_ROOT / name, tmp_path / name)

    assert image_content_tag(image, AMD64, tmp_path) == image_content_tag(image, AMD64)


def test_it_loads_no_aws_library() -> None:
    script = "import sys, aws.image_content; print('botocore' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
