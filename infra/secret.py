"""Passwords: made by Secrets Manager, and read by whoever may."""

from aws_cdk import aws_kms as kms
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from infra.checks import acknowledge

LENGTH = 40


def generated_secret(
    scope: Construct, name: str, description: str, key: kms.IKey
) -> secretsmanager.Secret:
    """Build a secret of letters and digits: no shell, URI or header reads them otherwise."""
    secret = secretsmanager.Secret(
        scope,
        name,
        description=description,
        encryption_key=key,
        generate_secret_string=secretsmanager.SecretStringGenerator(
            password_length=LENGTH, exclude_punctuation=True
        ),
    )
    acknowledge(
        secret,
        "AwsSolutions-SMG4",
        "The running tasks have read it at their start: it is changed by hand and with a "
        "restart (docs/operations.md), not by a Lambda at night.",
    )
    return secret
