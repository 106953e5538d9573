"""Show what `make deploy` would change: `make diff`."""

from contract.settings.loader import load_settings
from scripts.aws import cdk
from scripts.aws.account import Account
from scripts.console import main


def command() -> None:
    """Show what differs between a stage's templates and what is deployed; nothing is changed."""
    stage = load_settings().get_stage()
    Account(stage)
    cdk.synthesise(stage)
    cdk.run(["diff", "--all", "--app", str(cdk.ASSEMBLY), "--method", "template"], stage)


if __name__ == "__main__":
    main(command)
