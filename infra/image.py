"""Which image the tracking host runs, and that it runs nothing before there is one."""

from aws_cdk import CfnCondition, CfnParameter, Fn, Token
from aws_cdk import aws_ecs as ecs
from constructs import Construct

from contract.names import NO_IMAGE, image_parameter
from contract.stage import Stage
from infra.overrides import override


class TrackingImage:
    """The image that `make deploy` has pushed last, by its digest; until then there is none.

    The digest is in a parameter of Systems Manager and not in the template, so that whoever runs
    `cdk deploy` next, on any machine, deploys the same one. Before the first push the service is
    there and runs nothing.
    """

    def __init__(self, scope: Construct, stage: Stage, uri: str) -> None:
        """Read the parameter, and name the image by it and by its repository's URI."""
        digest = CfnParameter(
            scope,
            "Image",
            type="AWS::SSM::Parameter::Value<String>",
            default=image_parameter(stage),
            description="The digest of the tracking image, or none",
        ).value_as_string
        self._pushed = CfnCondition(
            scope,
            "Pushed",
            expression=Fn.condition_not(Fn.condition_equals(digest, NO_IMAGE)),
        )
        name = Fn.condition_if(
            self._pushed.logical_id, Fn.join("@", [uri, digest]), Fn.join(":", [uri, NO_IMAGE])
        )
        self.container = ecs.ContainerImage.from_registry(Token.as_string(name))

    def start_at_zero(
        self, service: ecs.FargateService, scaling: ecs.ScalableTaskCount, stage: Stage
    ) -> None:
        """Run no task before there is an image."""
        count = Fn.condition_if(self._pushed.logical_id, stage.tracking_tasks, 0)
        override(service.node.find_child("Service"), "DesiredCount", count)
        override(scaling.node.find_child("Target"), "MinCapacity", count)
