"""Create a stage's stacks in an emulated account from their templates, without the CDK CLI."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contract.names import StackName, StackOutput, stack_name
from contract.settings.stage import Stage
from infra.app import build_app
from tests.emulator.account import Account, emulated_account
from tests.infra.conftest import StageTemplates

BOOTSTRAP_VERSION_PARAMETER = "/cdk-bootstrap/hnb659fds/version"


@contextmanager
def deployed_account(folder: Path, *stages: Stage, registry: str = "") -> Iterator[Account]:
    """Run an emulated account in which stages are deployed.

    Args:
        folder: Where the templates and the account's log are written.
        stages: The stages.
        registry: The host and port of the registry that holds the images of its repositories.
    """
    with emulated_account(folder, registry=registry) as account:
        for stage in stages:
            templates = folder / stage.name
            build_app(stage, str(templates)).synth()
            create_stacks(account, StageTemplates(stage, templates))
        yield account


def create_stacks(account: Account, templates: StageTemplates) -> dict[StackOutput, str]:
    """Create the stacks and return their outputs."""
    account.client("ssm").put_parameter(
        Name=BOOTSTRAP_VERSION_PARAMETER, Value="30", Type="String", Overwrite=True
    )
    cloudformation = account.client("cloudformation")
    outputs: dict[str, str] = {}
    for stack in StackName:
        name = stack_name(templates.stage, stack)
        body = (templates.folder / f"{name}.template.json").read_text()
        cloudformation.create_stack(
            StackName=name, TemplateBody=body, Capabilities=["CAPABILITY_IAM"]
        )
        (created,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
        assert created["StackStatus"] == "CREATE_COMPLETE", created
        outputs |= {output["OutputKey"]: output["OutputValue"] for output in created["Outputs"]}
    # Without the outputs that a stack exports to another stack.
    return {output: outputs[output] for output in StackOutput}
