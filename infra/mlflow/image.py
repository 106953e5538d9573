"""Which image the tracking host runs, and that it runs nothing before there is one."""

from aws_cdk import CfnCondition, CfnParameter, Fn, ICfnRuleConditionExpression, Token
from aws_cdk import aws_ecs as ecs
from constructs import Construct

from contract.names import NO_IMAGE, image_digest_parameter
from contract.settings.stage import Stage
from infra.overrides import override


class ImageDigest:
    """What is known of the image that `make deploy` has pushed last; until then there is none.

    The digest is in a parameter of Systems Manager and not in the template, so that whoever runs
    `cdk deploy` next, on any machine, deploys the same one.
    """

    def __init__(self, scope: Construct, stage: Stage) -> None:
        """Read the parameter."""
        self.digest = CfnParameter(
            scope,
            "Image",
            type="AWS::SSM::Parameter::Value<String>",
            default=image_digest_parameter(stage),
            description="The digest of the tracking image, or none",
        ).value_as_string
        self._condition = CfnCondition(
            scope,
            "Pushed",
            expression=Fn.condition_not(Fn.condition_equals(self.digest, NO_IMAGE)),
        )

    def choose(self, there: object, before: object) -> ICfnRuleConditionExpression:
        """Return what holds when there is an image, and what before."""
        return Fn.condition_if(self._condition.logical_id, there, before)


class MlflowImage:
    """The image that the tracking host runs: before the first push it is there and runs nothing."""

    def __init__(self, scope: Construct, stage: Stage, uri: str) -> None:
        """Name the image by its repository's URI and its digest."""
        self._pushed = ImageDigest(scope, stage)
        name = self._pushed.choose(
            Fn.join("@", [uri, self._pushed.digest]), Fn.join(":", [uri, NO_IMAGE])
        )
        self.container = ecs.ContainerImage.from_registry(Token.as_string(name))

    def start_at_zero(
        self, service: ecs.FargateService, scaling: ecs.ScalableTaskCount, stage: Stage
    ) -> None:
        """Run no task before there is an image."""
        count = self._pushed.choose(stage.mlflow_tasks, 0)
        override(service.node.find_child("Service"), "DesiredCount", count)
        override(scaling.node.find_child("Target"), "MinCapacity", count)
