"""A stage's stacks in an emulated account, made from its templates without the CDK."""

from contract.names import StackName, StackOutput, stack_name
from tests.emulator.account import Account
from tests.infra.conftest import Synthesised

BOOTSTRAP = "/cdk-bootstrap/hnb659fds/version"


def create_stacks(account: Account, synthesised: Synthesised) -> dict[StackOutput, str]:
    """Return what the stacks tell of themselves."""
    account.client("ssm").put_parameter(Name=BOOTSTRAP, Value="30", Type="String", Overwrite=True)
    stacks = account.client("cloudformation")
    told: dict[str, str] = {}
    for part in StackName:
        name = stack_name(synthesised.stage, part)
        body = (synthesised.folder / f"{name}.template.json").read_text()
        stacks.create_stack(StackName=name, TemplateBody=body, Capabilities=["CAPABILITY_IAM"])
        (stack,) = stacks.describe_stacks(StackName=name)["Stacks"]
        assert stack["StackStatus"] == "CREATE_COMPLETE", stack
        told |= {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}
    # The others are what a stack exports to another one.
    return {one: told[one] for one in StackOutput}
