"""The memory of SageMaker's instance types."""

import pytest

from aws.instance_memory import Instance, list_training_instances


@pytest.mark.parametrize(
    ("name", "vcpus", "memory_gib"),
    [
        # https://aws.amazon.com/ec2/instance-types/
        ("ml.m5.large", 2, 8),
        ("ml.m5.24xlarge", 96, 384),
        ("ml.m4.16xlarge", 64, 256),
        ("ml.m7i-flex.large", 2, 8),
        ("ml.c5.9xlarge", 36, 72),
        ("ml.c7i.48xlarge", 192, 384),
        ("ml.r5.large", 2, 16),
        ("ml.r7i.48xlarge", 192, 1536),
        ("ml.t3.medium", 2, 4),
        ("ml.t3.2xlarge", 8, 32),
    ],
)
def test_memory_is_derived_from_the_name(name: str, vcpus: int, memory_gib: float) -> None:
    assert Instance.from_name(name) == Instance(name, vcpus, memory_gib)


@pytest.mark.parametrize("name", ["ml.c4.xlarge", "ml.c5n.xlarge", "ml.g5.xlarge", "ml.t3.nano"])
def test_memory_of_other_types_is_unknown(name: str) -> None:
    assert Instance.from_name(name) is None


def test_training_instances_are_sorted_by_memory() -> None:
    instances = list_training_instances()

    memory = [instance.memory_gib for instance in instances]
    assert memory == sorted(memory)
    assert {"m5", "m6i", "m7i", "c5", "c6i", "c7i", "r5", "r6i", "r7i", "t3"} <= {
        instance.family for instance in instances
    }
    assert memory[0] == 4
