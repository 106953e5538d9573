"""The memory of the instance types that SageMaker trains on, derived from their names.

AWS lists it per type: https://aws.amazon.com/ec2/instance-types/. In the families below, memory is
proportional to the vCPUs, and the size tells these.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import botocore.session

from contract.settings.stage import count_vcpus

GIB_PER_VCPU: Mapping[str, float] = {
    **dict.fromkeys(("c5", "c6i", "c7i", "c7i-flex", "c8i", "c8i-flex"), 2),
    **dict.fromkeys(("m4", "m5", "m6i", "m7i", "m7i-flex", "m8i", "m8i-flex"), 4),
    **dict.fromkeys(("r5", "r5d", "r6i", "r7i", "r8i", "r8i-flex"), 8),
}
"""GiB per vCPU by family; c4, c5n and accelerated instances follow no such rule."""
T3_GIB: Mapping[str, float] = {"medium": 4, "large": 8, "xlarge": 16, "2xlarge": 32}
"""The burstable family, whose small sizes all have two vCPUs."""


@dataclass(frozen=True)
class Instance:
    """An instance type."""

    name: str
    vcpus: int
    memory_gib: float

    @property
    def family(self) -> str:
        """The part of the name between the dots: `m5`."""
        return self.name.split(".")[1]

    @classmethod
    def from_name(cls, name: str) -> "Instance | None":
        """Return an instance type; None if its memory can't be derived."""
        _, family, size = name.split(".")
        vcpus = count_vcpus(name)
        memory = T3_GIB.get(size) if family == "t3" else vcpus * GIB_PER_VCPU.get(family, 0)
        return cls(name, vcpus, memory) if memory else None


def list_training_instances() -> list[Instance]:
    """Return SageMaker's instance types for training whose memory is known, the smallest first."""
    service = botocore.session.get_session().get_service_model("sagemaker")
    names = service.shape_for("TrainingInstanceType").enum
    known = [instance for name in names if (instance := Instance.from_name(name))]
    return sorted(known, key=lambda instance: (instance.memory_gib, instance.name))
