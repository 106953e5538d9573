"""Compile the hashed locks in requirements/ from the groups in pyproject.toml: `make lock`."""

import shutil
import subprocess
import sys
from pathlib import Path

UV = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
ROOT = Path(__file__).resolve().parents[1]
EVERYTHING = "dev"
"""The lock of all groups, which is compiled first: every other lock shares its versions."""
LOCKS = (EVERYTHING, "train", "serve", "infra", "aws", "mlflow-server", "uv")


def main() -> int:
    """Compile every lock for all supported Python versions and platforms, without package hosts.

    Returns:
        The exit code.
    """
    for group in LOCKS:
        command = [UV, "pip", "compile", "pyproject.toml", "--group", group, "--quiet"]
        command += ["--universal", "--python-version", "3.11", "--fork-strategy", "fewest"]
        command += ["--generate-hashes", "--no-emit-index-url", "--no-annotate"]
        command += ["--custom-compile-command", "make lock", "--upgrade"]
        if group != EVERYTHING:
            command += ["--constraint", f"requirements/{EVERYTHING}.txt"]
        command += ["--output-file", f"requirements/{group}.txt"]
        print(f"requirements/{group}.txt", file=sys.stderr)
        status = subprocess.run(command, cwd=ROOT, check=False).returncode
        if status:
            return status
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
