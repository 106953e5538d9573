"""cdk-nag: the checks of all templates, and how a finding is acknowledged with a reason."""

import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks
from constructs import IConstruct

RULE_PACK = "AwsSolutions"


def acknowledge(construct: IConstruct, rule: str, reason: str) -> None:
    """Acknowledge a rule's finding on a construct and on its children."""
    cdk.Validations.of(construct).acknowledge(
        cdk.Acknowledgment(id=f"{RULE_PACK}::{rule}", reason=reason)
    )


def add_checks(app: cdk.App) -> None:
    """Check all templates against AWS Solutions rules; findings are in the validation report."""
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
