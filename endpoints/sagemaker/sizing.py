"""How much memory and storage a training needs, and which instance type has it.

The figures are upper bounds of those that `make bench ARGS=memory` measures (docs/performance.md).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from aws.instance_memory import Instance

GIB = 2**30

BASE_BYTES = 0.8e9
"""The libraries in both processes, on any table."""
BYTES_PER_COLUMN = 0.66e6
"""The categories and donors of a column, in each model that is fitted, sent and saved."""
BYTES_PER_CELL = 110.0
"""The table, and its rows after one-hot encoding, in both processes."""
BYTES_PER_CELL_AND_COPY = 12.0
"""The encoded rows as XGBoost quantizes them, once for each booster that is fitted at a time."""
MAX_COPIES = 18
"""The boosters of the default grid: on more CPUs, no more are fitted at a time."""
MARGIN = 1.25
"""The memory that is required, relative to the expected one."""
USABLE = 0.9
"""The share of an instance's memory that a training may use.

The system, SageMaker's agents and the container engine need some: on EC2, an instance with 8 GiB
shows 7.8 GiB to a container engine (https://docs.aws.amazon.com/batch/latest/userguide/memory-management.html).
"""
RESERVED_STORAGE_GB = 0.5
"""What a training writes to its volume beside the tables: one model of each family at a time."""
LARGE_FAMILIES = ("r5", "r7i")
"""Where to look for an instance type if a stage's own generation has none that is large enough."""


@dataclass(frozen=True)
class TableShape:
    """The size of a table."""

    rows: int
    columns: int
    is_exact: bool = True
    """Whether it was counted, not estimated."""

    @property
    def cells(self) -> int:
        """Rows x columns."""
        return self.rows * self.columns

    def __str__(self) -> str:
        about = "" if self.is_exact else "about "
        return f"{about}{self.rows:,} rows x {self.columns:,} columns"


def expected_memory_bytes(shape: TableShape, vcpus: int) -> float:
    """Return the memory in bytes that a training takes at most, without a margin.

    Args:
        shape: Of all tables together.
        vcpus: Of the instance: the more it has, the more boosters are fitted at a time.
    """
    per_cell = BYTES_PER_CELL + BYTES_PER_CELL_AND_COPY * min(vcpus, MAX_COPIES)
    return BASE_BYTES + BYTES_PER_COLUMN * shape.columns + per_cell * shape.cells


def needed_memory_gib(shape: TableShape, vcpus: int) -> float:
    """Return the memory in GiB that an instance needs for a training, with a margin.

    Args:
        shape: Of all tables together.
        vcpus: Of the instance.
    """
    return MARGIN * expected_memory_bytes(shape, vcpus) / USABLE / GIB


def is_large_enough(instance: Instance, shape: TableShape) -> bool:
    """Return whether an instance type has the memory for a training."""
    return needed_memory_gib(shape, instance.vcpus) <= instance.memory_gib


def find_instance(shape: TableShape, family: str, instances: Iterable[Instance]) -> Instance | None:
    """Return the smallest instance type that is large enough; None if there is none.

    Args:
        shape: Of all tables together.
        family: The preferred family, such as `m5`; then that of its generation with more memory
            per vCPU is searched (`r5`), then LARGE_FAMILIES.
        instances: The instance types, the smallest first.
    """
    available = list(instances)
    for candidate in (family, f"r{family[1:]}", *LARGE_FAMILIES):
        for instance in available:
            if instance.family == candidate and is_large_enough(instance, shape):
                return instance
    return None
