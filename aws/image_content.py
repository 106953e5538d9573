"""The content of an image: its target's instructions in the Dockerfile, and the files they copy.

Two builds of the same content are the same image as far as this project determines it. What it does
not determine is not part of the content: the base image behind its tag, and the labels.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from contract.errors import StackError
from contract.names import Image
from contract.paths import PROJECT_ROOT

DIGEST_LENGTH = 16


@dataclass
class _Stage:
    """A stage of the Dockerfile: the lines from one FROM to the next."""

    instructions: list[str] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    """What the stage starts from and copies from: other stages, or images."""
    sources: list[str] = field(default_factory=list)
    """What the stage copies from this folder; may contain wildcards."""


def image_content_tag(image: Image, platform: str, root: Path = PROJECT_ROOT) -> str:
    """Return the tag that names an image's content: `content-0123456789abcdef`.

    Args:
        image: The target of the Dockerfile.
        platform: The platform that the image is built for.
        root: The folder of the Dockerfile.

    Raises:
        StackError: The Dockerfile copies a file that doesn't exist.
    """
    stages = _needed_stages(_parse_dockerfile((root / "Dockerfile").read_text()), image)
    content = hashlib.sha256(f"{platform}\n".encode())
    for stage in stages:
        content.update("\n".join(stage.instructions).encode() + b"\0")
    for file in sorted({file for stage in stages for file in _files(root, stage.sources)}):
        # COPY preserves permissions. Git and archives preserve only whether a file is executable.
        mode = "x" if file.stat().st_mode & 0o100 else "-"
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        content.update(f"{file.relative_to(root).as_posix()}\0{mode}\0{digest}\0".encode())
    return f"content-{content.hexdigest()[:DIGEST_LENGTH]}"


def _needed_stages(stages: dict[str, _Stage], target: str) -> list[_Stage]:
    """Return the target's stage and all stages that it is built from, and the global arguments."""
    needed, pending = {"": stages[""]}, [target]
    while pending:
        name = pending.pop()
        if name in stages and name not in needed:
            needed[name] = stages[name]
            pending += stages[name].stages
    return [needed[name] for name in sorted(needed)]


def _parse_dockerfile(text: str) -> dict[str, _Stage]:
    """Return the stages by their names; what precedes the first one has an empty name."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    stages = {"": _Stage()}
    current = stages[""]
    for instruction in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        words = instruction.split()
        if not words:
            continue
        name, arguments = words[0].upper(), [word for word in words[1:] if word[:2] != "--"]
        options = dict(word[2:].partition("=")[::2] for word in words[1:] if word[:2] == "--")
        if name == "FROM":
            current = stages[arguments[-1]] = _Stage(stages=arguments[:1])
        elif name in {"COPY", "ADD"} and "from" in options:
            current.stages.append(options["from"])
        elif name in {"COPY", "ADD"}:
            current.sources += arguments[:-1]
        current.instructions.append(instruction)
    return stages


def _files(root: Path, sources: list[str]) -> Iterator[Path]:
    ignored = _parse_dockerignore(root / ".dockerignore")
    for source in sources:
        found = sorted(root.glob(source))
        if not found:
            raise StackError(f"Dockerfile: COPY {source}: there is no such file")
        for path in found:
            for file in [path, *path.rglob("*")]:
                if file.is_file() and not _is_ignored(file.relative_to(root), ignored):
                    yield file


def _parse_dockerignore(file: Path) -> list[tuple[re.Pattern[str], bool]]:
    """Return each pattern as a regular expression, and whether it excludes what it matches."""
    lines = file.read_text().splitlines() if file.exists() else []
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return [(_translate(line.removeprefix("!")), line[0] != "!") for line in patterns]


def _translate(pattern: str) -> re.Pattern[str]:
    # https://docs.docker.com/build/concepts/context/#dockerignore-files: as in Go's filepath.Match,
    # where * doesn't match a slash; and ** matches any number of folders.
    wildcards = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern.strip("/"))
    return re.compile("".join(wildcards.get(part) or re.escape(part) for part in parts))


def _is_ignored(path: PurePosixPath | Path, patterns: list[tuple[re.Pattern[str], bool]]) -> bool:
    """Return whether the last pattern that matches a file, or one of its folders, excludes it."""
    names = [name.as_posix() for name in (path, *path.parents[:-1])]
    ignored = False
    for pattern, excludes in patterns:
        if any(pattern.fullmatch(name) for name in names):
            ignored = excludes
    return ignored
