"""Write and check a stage's templates, without an account: `make synth`."""

from contract.names import Part, stack_name
from contract.settings import PROJECT, load
from scripts import cdk
from scripts.console import main, say


def command() -> None:
    """Write the CloudFormation templates of a stage (STAGE=prod), and check them."""
    stage = load().of_stage()
    folder = cdk.synthesise(stage).relative_to(PROJECT)
    say("Checked, with nothing found:")
    for part in Part:
        print(f"{folder}/{stack_name(stage, part)}.template.json")


if __name__ == "__main__":
    main(command)
