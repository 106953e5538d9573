"""Instance types with local storage: what the emulator refuses, the settings know."""

from collections.abc import Mapping, Sequence

import botocore.session
import pytest

from tests.emulator.training_rules import has_local_storage
from tests.infra.conftest import stage_with


def _training_types() -> Mapping[str, Sequence[str]]:
    """Return SageMaker's instance types for training jobs by family."""
    service = botocore.session.get_session().get_service_model("sagemaker")
    types: dict[str, list[str]] = {}
    for name in sorted(service.shape_for("TrainingInstanceType").enum):
        types.setdefault(name.split(".")[1], []).append(name)
    return types


TYPES = _training_types()


@pytest.mark.parametrize("family", TYPES)
def test_settings_know_which_training_instances_have_local_storage(family: str) -> None:
    """A request for such a type can't name a volume key, and one for another type has to."""
    for name in TYPES[family]:
        stage = stage_with("dev", {"training_instance_type": name})
        assert stage.training_has_local_storage == has_local_storage(name), name


@pytest.mark.parametrize("family", ["g4dn", "g6e", "g7", "p4de", "p5en", "p6-b200", "trn1n", "r5d"])
def test_accelerated_instances_have_local_storage(family: str) -> None:
    assert all(has_local_storage(name) for name in TYPES[family])


@pytest.mark.parametrize("family", ["c5", "m5", "p2", "p3", "t3"])
def test_other_instances_have_none(family: str) -> None:
    assert not any(has_local_storage(name) for name in TYPES[family])
