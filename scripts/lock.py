"""Compile the hashed locks in requirements/ from the groups in pyproject.toml: `make lock`."""

import shutil
import subprocess
import sys
from pathlib import Path

UV = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
ROOT = Path(__file__).resolve().parents[1]
LOCKS = {
    "train": (),
    "serve": ("train",),
    "infra": ("train",),
    "mlflow-server": ("train",),
    "dev": ("train", "infra", "mlflow-server"),
    "uv": (),
}
"""Each lock, and the locks whose versions it must share."""


def main() -> int:
    """Compile every lock for all supported Python versions and platforms, without package hosts.

    Returns:
        The exit code.
    """
    for group, constraints in LOCKS.items():
        command = [UV, "pip", "compile", "pyproject.toml", "--group", group, "--quiet"]
        command += ["--universal", "--python-version", "3.11", "--fork-strategy", "fewest"]
        command += ["--generate-hashes", "--no-emit-index-url", "--no-annotate"]
        command += ["--custom-compile-command", "make lock", "--upgrade"]
        for other in constraints:
            command += ["--constraint", f"requirements/{other}.txt"]
        command += ["--output-file", f"requirements/{group}.txt"]
        print(f"requirements/{group}.txt", file=sys.stderr)
        status = subprocess.run(command, cwd=ROOT, check=False).returncode
        if status:
            return status
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
