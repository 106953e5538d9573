"""Whether the tables of a training fit the instances of a stage, before a job is started."""

import logging
import math
from collections.abc import Sequence

from aws.account import AwsAccount
from aws.instance_memory import Instance, list_training_instances
from contract.errors import SettingsError
from contract.settings.loader import Settings
from contract.settings.stage import Stage
from contract.training_job import Channel
from endpoints.sagemaker.sizing import (
    RESERVED_STORAGE_GB,
    TableShape,
    find_instance,
    is_large_enough,
    needed_memory_gib,
)
from endpoints.sagemaker.table_shape import measure_table
from endpoints.sagemaker.tables import Table

logger = logging.getLogger(__name__)

WITH_ROWS = frozenset({Channel.TRAIN, Channel.TEST})
"""The tables whose rows are encoded."""


def check_capacity(
    tables: Sequence[Table], settings: Settings, stage: Stage, account: AwsAccount
) -> None:
    """Refuse tables that are too large for an instance's volume or memory.

    Each of several instances reads all tables, so their number doesn't matter.

    Raises:
        SettingsError: They don't fit; the message names the key to change, and the value.
        DataError: A table can't be read.
        InfraError: AWS refuses a request.
    """
    _check_volume(tables, settings, stage)
    instance = Instance.from_name(stage.training_instance_type)
    if not instance:
        logger.info("The memory of %s is not checked: unknown", stage.training_instance_type)
        return
    # Labels in a table of their own are one column more.
    shapes = [measure_table(table, account) for table in tables if table.channel in WITH_ROWS]
    _check_memory(_combine(shapes), instance, settings, stage)


def _check_volume(tables: Sequence[Table], settings: Settings, stage: Stage) -> None:
    if stage.training_has_local_storage:  # whose size the instance type sets
        return
    needed = sum(table.size for table in tables) / 1e9 + RESERVED_STORAGE_GB
    if needed > settings.training.volume_gb:
        raise SettingsError(
            f"training.volume_gb: {settings.training.volume_gb} GB are too few for the tables and "
            f"models, {needed:.1f} GB; set {math.ceil(needed)} or more; nothing was changed"
        )


def _check_memory(shape: TableShape, instance: Instance, settings: Settings, stage: Stage) -> None:
    if is_large_enough(instance, shape):
        return
    needed = needed_memory_gib(shape, instance.vcpus)
    larger = find_instance(shape, instance.family, list_training_instances())
    advice = (
        f"set {larger.name}, which has {larger.memory_gib:g} GiB"
        if larger
        else "no instance type has that much: train on fewer rows or columns"
    )
    raise SettingsError(
        f"stages.{stage.name}.training_instance_type: training on {settings.data.train} ({shape}) "
        f"needs {needed:,.0f} GiB of memory, and {instance.name} has {instance.memory_gib:g} GiB; "
        f"{advice}; nothing was changed"
    )


def _combine(shapes: Sequence[TableShape]) -> TableShape:
    """Return the size of the training and the test rows together."""
    return TableShape(
        sum(shape.rows for shape in shapes),
        max(shape.columns for shape in shapes),
        all(shape.is_exact for shape in shapes),
    )
