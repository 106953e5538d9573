"""Show what `make deploy` would change: `make diff`."""

from aws.account import AwsAccount
from contract.settings.loader import load_settings
from scripts.aws import cdk
from scripts.console import main


def command() -> None:
    """Show the difference between a stage's templates and its deployed stacks; change nothing."""
    stage = load_settings().get_stage()
    AwsAccount(stage)  # fails early, before the slow synthesis
    cdk.synthesize(stage)
    cdk.diff(stage)


if __name__ == "__main__":
    main(command)
