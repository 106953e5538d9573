"""What is checked of the templates, and what is accepted there, with its reason."""

import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks
from constructs import IConstruct

PACK = "AwsSolutions"


def acknowledge(construct: IConstruct, rule: str, reason: str) -> None:
    """Accept a rule's finding on a construct and on what it is made of."""
    cdk.Validations.of(construct).acknowledge(
        cdk.Acknowledgment(id=f"{PACK}::{rule}", reason=reason)
    )


def add_checks(app: cdk.App) -> None:
    """Check all templates by AWS's list of good practice; what it finds is in the CDK's report."""
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
