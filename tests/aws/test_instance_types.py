"""Instance types: their platform, and whether SageMaker has them."""

from typing import Any

import botocore.session
import pytest

from aws.instance_types import check_instance_type
from contract.errors import SettingsError
from contract.names import Image, image_platform
from contract.settings.stage import Platform
from tests.infra.conftest import stage_with


def _types(shape: str) -> list[str]:
    service = botocore.session.get_session().get_service_model("sagemaker")
    return list(service.shape_for(shape).enum)


@pytest.mark.parametrize(
    ("instance_type", "platform"),
    [
        *((name, Platform.AMD64) for name in ("ml.m5.large", "ml.t2.medium", "ml.g4dn.xlarge")),
        *((name, Platform.AMD64) for name in ("ml.p4d.24xlarge", "ml.c7i-flex.large")),
        *((name, Platform.ARM64) for name in ("ml.m6g.large", "ml.r6gd.large", "ml.c7g.xlarge")),
        *((name, Platform.ARM64) for name in ("ml.g5g.xlarge", "ml.p6e-gb200.36xlarge")),
    ],
)
def test_platform_is_derived_from_the_instance_type(instance_type: str, platform: Platform) -> None:
    changes = {"endpoint_instance_type": instance_type, "training_instance_type": instance_type}
    stage = stage_with("dev", changes)

    assert image_platform(stage, Image.SERVE) == platform
    assert image_platform(stage, Image.TRAIN) == platform
    assert image_platform(stage, Image.MLFLOW) == Platform.AMD64


def test_families_with_arm_processors_are_those_that_aws_names() -> None:
    """Every family of SageMaker's whose platform is ARM; a new one has to be looked up."""
    families = {
        name.split(".")[1]
        for name in _types("ProductionVariantInstanceType") + _types("TrainingInstanceType")
        if stage_with("dev", {"endpoint_instance_type": name}).endpoint_platform == Platform.ARM64
    }
    assert families == {
        *("c6g", "c6gd", "c6gn", "c7g", "c8g", "m6g", "m6gd", "m8g"),
        *("r6g", "r6gd", "r7gd", "r8g", "p6e-gb200"),
    }


@pytest.mark.parametrize(
    ("image", "changes", "message"),
    [
        (
            Image.TRAIN,
            {"training_instance_type": "ml.t2.medium"},
            r"stages\.dev\.training_instance_type: SageMaker has no ml\.t2\.medium for training",
        ),
        # SageMaker trains on none of the families with Graviton.
        (Image.TRAIN, {"training_instance_type": "ml.m6g.large"}, r"did you mean ml\.m6i\.large\?"),
        (
            Image.SERVE,
            {"endpoint_instance_type": "ml.m5.lage"},
            r"stages\.dev\.endpoint_instance_type: .* for endpoints .*did you mean ml\.m5\.large\?",
        ),
    ],
)
def test_type_that_sagemaker_does_not_have_is_refused_in_one_line(
    image: Image, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message) as error:
        check_instance_type(stage_with("dev", changes), image)

    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_types_of_the_projects_own_stages_exist(name: str) -> None:
    for image in Image:
        check_instance_type(stage_with(name, {}), image)
