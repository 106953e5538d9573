"""What the stacks of a stage have in common."""

from aws_cdk import CfnOutput, Fn, Stack
from constructs import Construct

from contract.names import StackName, StackOutput, stack_name
from contract.settings.stage import Stage


class StageStack(Stack):
    """A stack of a stage, whose outputs have the names that contract/ gives them."""

    def __init__(self, scope: Construct, stage: Stage, part: StackName) -> None:
        super().__init__(
            scope,
            stack_name(stage, part),
            env={"account": stage.account or None, "region": stage.region},
            description=f"{stage.project}, {stage.name}: {part}",
            termination_protection=stage.production,
        )

    @property
    def availability_zones(self) -> list[str]:
        """The first zones, whichever they are: the CDK would ask the account for their names."""
        return [Fn.select(number, Fn.get_azs()) for number in range(4)]

    def add_outputs(self, outputs: dict[StackOutput, str]) -> None:
        """Make values known to the commands, which ask the deployed stack for them."""
        for name, value in outputs.items():
            CfnOutput(self, name, value=value).override_logical_id(name)
