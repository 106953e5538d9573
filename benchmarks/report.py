"""Results of benchmarks: saved as JSON, printed as tables."""

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import psutil
from rich import box
from rich.console import Console
from rich.table import Table

from contract.paths import PROJECT_ROOT
from training.runs.model_writer import pinned_requirements

FOLDER = PROJECT_ROOT / ".local" / "bench"


def describe_machine() -> Mapping[str, object]:
    """Return the machine's cores, memory and processor, and the versions of the libraries."""
    return {
        "cores": os.cpu_count(),
        "memory_gigabytes": round(psutil.virtual_memory().total / 1e9),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": pinned_requirements(["xgboost-cpu", "xgboost"]),
        "mlflow": version("mlflow"),
    }


def save_results(name: str, results: Mapping[str, object]) -> Path:
    """Write a benchmark's results, with a description of the machine, as JSON; return the file."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    file = FOLDER / f"{name}.json"
    file.write_text(json.dumps({"machine": describe_machine(), **results}, indent=2) + "\n")
    return file


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table with text in the first column and numbers in the others."""
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for number, name in enumerate(header):
        table.add_column(name, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else 110
    Console(width=width, highlight=False, markup=False, soft_wrap=True).print(table)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
