"""Whether SageMaker has the instance types of a stage, by the lists in botocore's own model.

The check needs no account. SageMaker itself refuses such a type only when a job or an endpoint is
created, after images were built for it.
"""

import botocore
import botocore.session

from contract.errors import SettingsError
from contract.names import Image
from contract.settings.messages import suggest
from contract.settings.stage import Stage

LISTS = {
    # https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ProductionVariant.html
    Image.SERVE: ("endpoint_instance_type", "ProductionVariantInstanceType", "endpoints"),
    # https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ResourceConfig.html
    Image.TRAIN: ("training_instance_type", "TrainingInstanceType", "training jobs"),
}
"""The key that names the instance type of an image, SageMaker's list for it, and its use."""


def check_instance_type(stage: Stage, image: Image) -> None:
    """Refuse an instance type that SageMaker doesn't have for an image's use.

    Raises:
        SettingsError: SageMaker's list doesn't contain the type; the message names the key.
    """
    if image not in LISTS:
        return
    key, shape, use = LISTS[image]
    service = botocore.session.get_session().get_service_model("sagemaker")
    known = set(service.shape_for(shape).enum)
    if (instance_type := getattr(stage, key)) not in known:
        raise SettingsError(
            f"stages.{stage.name}.{key}: SageMaker has no {instance_type} for {use} "
            f"(as of botocore {botocore.__version__}){suggest(instance_type, known)}"
        )
