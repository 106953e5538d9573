"""The commit of this checkout."""

import subprocess

from contract.paths import PROJECT_ROOT


def get_commit() -> str:
    """Return the commit, with `-dirty` appended where the working tree differs; "" without git."""
    head = git("rev-parse", "HEAD")
    dirty = "-dirty" if head and git("status", "--porcelain") else ""
    return f"{head}{dirty}"


def git(*arguments: str) -> str:
    """Return the output of a git command in this checkout; "" if it fails or git is missing."""
    try:
        result = subprocess.run(
            ["git", "-C", str(PROJECT_ROOT), *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:  # git is not installed
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""
