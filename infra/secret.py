"""Passwords that Secrets Manager generates."""

from aws_cdk import aws_kms as kms
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from infra.checks import acknowledge

LENGTH = 40


def generated_secret(
    scope: Construct, construct_id: str, description: str, key: kms.IKey
) -> secretsmanager.Secret:
    """Create a secret of letters and digits only.

    No shell, URI or header then needs to escape it.
    """
    secret = secretsmanager.Secret(
        scope,
        construct_id,
        description=description,
        encryption_key=key,
        generate_secret_string=secretsmanager.SecretStringGenerator(
            password_length=LENGTH, exclude_punctuation=True
        ),
    )
    acknowledge(
        secret,
        "AwsSolutions-SMG4",
        "Running tasks read the secret when they start: it is changed by hand, followed by a "
        "restart (docs/operations.md), not by a scheduled Lambda function.",
    )
    return secret
