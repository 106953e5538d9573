"""Prepare an account and region for the CDK, once: `make bootstrap`."""

from contract.settings import load
from scripts import cdk
from scripts.account import Account
from scripts.console import main, say


def command() -> None:
    """Prepare an account and region for the CDK: a bucket and roles of its own."""
    stage = load().of_stage()
    account = Account(stage)
    say(f"Preparing account {account.number} in {stage.region} for the CDK")
    # Without a repository's or the bucket's name of our own, as any other CDK app expects them.
    cdk.run(["bootstrap", f"aws://{account.number}/{stage.region}"], stage)


if __name__ == "__main__":
    main(command)
