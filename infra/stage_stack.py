"""The base class of a stage's stacks."""

from aws_cdk import CfnOutput, Fn, Stack
from constructs import Construct

from contract.names import StackName, StackOutput, stack_name
from contract.settings.stage import Stage


class StageStack(Stack):
    """A stack of a stage; its outputs are named by contract.names.StackOutput."""

    def __init__(self, scope: Construct, stage: Stage, name: StackName) -> None:
        super().__init__(
            scope,
            stack_name(stage, name),
            env={"account": stage.account or None, "region": stage.region},
            description=f"{stage.project}, {stage.name}: {name}",
            termination_protection=stage.production,
        )

    @property
    def availability_zones(self) -> list[str]:
        """The region's first zones, as tokens: the CDK would look up their names in the account."""
        return [Fn.select(number, Fn.get_azs()) for number in range(4)]

    def add_outputs(self, outputs: dict[StackOutput, str]) -> None:
        """Add outputs, which the commands read from the deployed stack."""
        for name, value in outputs.items():
            CfnOutput(self, f"{name}Output", value=value).override_logical_id(name)
