"""Write the hashed locks under requirements/ from pyproject.toml's groups: `make lock`."""

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
"""Each lock, and the locks whose versions it must agree with."""


def main() -> int:
    """Compile every lock for all supported Pythons and platforms, naming no package host."""
    for group, agrees_with in LOCKS.items():
        command = [UV, "pip", "compile", "pyproject.toml", "--group", group, "--quiet"]
        command += ["--universal", "--python-version", "3.11", "--fork-strategy", "fewest"]
        command += ["--generate-hashes", "--no-emit-index-url", "--no-annotate"]
        command += ["--custom-compile-command", "make lock", "--upgrade"]
        for other in agrees_with:
            command += ["--constraint", f"requirements/{other}.txt"]
        command += ["--output-file", f"requirements/{group}.txt"]
        print(f"requirements/{group}.txt", file=sys.stderr)
        status = subprocess.run(command, cwd=ROOT, check=False).returncode
        if status:
            return status
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
