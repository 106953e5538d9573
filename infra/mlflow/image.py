"""The image that the MLflow server runs; before the first push there is none, and no task runs."""

from aws_cdk import CfnCondition, CfnParameter, Fn, ICfnRuleConditionExpression, Token
from aws_cdk import aws_ecs as ecs
from constructs import Construct

from contract.names import NO_IMAGE, Image, image_digest_parameter
from contract.settings.stage import Stage
from infra.overrides import override_property


class ImageDigest:
    """The digest of the image that `make deploy` pushed last, or NO_IMAGE before the first push.

    The digest is in an SSM parameter and not in the template, so that any later `cdk deploy`, on
    any machine, deploys the same image.
    """

    def __init__(self, scope: Construct, stage: Stage) -> None:
        """Add the parameter, whose value CloudFormation reads from SSM, and the condition."""
        self.digest = CfnParameter(
            scope,
            "ImageDigest",
            type="AWS::SSM::Parameter::Value<String>",
            default=image_digest_parameter(stage, Image.MLFLOW),
            description="The digest of the MLflow image, or none",
        ).value_as_string
        self._condition = CfnCondition(
            scope,
            "ImagePushed",
            expression=Fn.condition_not(Fn.condition_equals(self.digest, NO_IMAGE)),
        )

    def if_pushed(self, value: object, otherwise: object) -> ICfnRuleConditionExpression:
        """Return a token for `value` if an image was pushed, and for `otherwise` if not."""
        return Fn.condition_if(self._condition.logical_id, value, otherwise)


class MlflowImage:
    """The container image of the MLflow server."""

    def __init__(self, scope: Construct, stage: Stage, repository_uri: str) -> None:
        """Refer to the image by its repository's URI and its digest."""
        self._digest = ImageDigest(scope, stage)
        name = self._digest.if_pushed(
            Fn.join("@", [repository_uri, self._digest.digest]),
            Fn.join(":", [repository_uri, NO_IMAGE]),
        )
        self.container = ecs.ContainerImage.from_registry(Token.as_string(name))

    def set_desired_count(
        self, service: ecs.FargateService, scaling: ecs.ScalableTaskCount, stage: Stage
    ) -> None:
        """Run the stage's number of tasks if an image was pushed, and no task if not."""
        count = self._digest.if_pushed(stage.mlflow_tasks, 0)
        override_property(service.node.find_child("Service"), "DesiredCount", count)
        override_property(scaling.node.find_child("Target"), "MinCapacity", count)
