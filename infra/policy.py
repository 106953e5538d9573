"""IAM statements, each with its reason, and the roles that are built from them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aws_cdk import Aws, Stack
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.checks import acknowledge

ANY_RESOURCE = "*"
"""For actions that AWS does not support resource-level permissions for."""
THIS_ACCOUNT = {"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}}
"""The condition that an AWS service acts for this account (protects against confused deputies)."""


@dataclass(frozen=True)
class Statement:
    """One statement of an IAM policy, with the reason for it."""

    sid: str
    """The statement's id, such as `ReadReleases`."""
    reason: str
    """Documents the role, and justifies each wildcard of the statement to cdk-nag."""
    actions: Sequence[str]
    resources: Sequence[str]
    """ARNs, or ANY_RESOURCE."""
    conditions: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    def to_policy_statement(self) -> iam.PolicyStatement:
        """Return the statement as the CDK's own type."""
        return iam.PolicyStatement(
            sid=self.sid,
            # jsii accepts lists and dicts only, not tuples or other mappings.
            actions=list(self.actions),
            resources=list(self.resources),
            conditions=dict(self.conditions),
        )


def arn(service: str, resource: str) -> str:
    """Return the ARN of a resource in the stack's own account and region."""
    return f"arn:{Aws.PARTITION}:{service}:{Aws.REGION}:{Aws.ACCOUNT_ID}:{resource}"


def service_principal(service: str) -> iam.IPrincipal:
    """Return an AWS service, such as `sagemaker`, that may assume a role for this account only."""
    return iam.ServicePrincipal(f"{service}.amazonaws.com", conditions=THIS_ACCOUNT)


def create_role(
    scope: Construct,
    construct_id: str,
    description: str,
    principal: iam.IPrincipal,
    statements: Sequence[Statement],
) -> iam.Role:
    """Create a role that has exactly these permissions.

    They are inline policies, not a separate policy resource: a resource that refers to the role
    can then rely on its permissions (SageMaker rejects, for example, a model whose role can't read
    its data yet).

    Args:
        scope: The parent construct.
        construct_id: The id of the role within its parent.
        description: Shown in the IAM console.
        principal: Who may assume the role.
        statements: The role's permissions.
    """
    role = iam.Role(
        scope,
        construct_id,
        description=description,
        assumed_by=principal,
        inline_policies={
            "permissions": iam.PolicyDocument(
                statements=[statement.to_policy_statement() for statement in statements]
            )
        },
    )
    _acknowledge_wildcards(role, statements)
    return role


def _acknowledge_wildcards(role: iam.Role, statements: Sequence[Statement]) -> None:
    """Acknowledge cdk-nag's finding for each wildcard separately, with its statement's reason."""
    reasons: dict[str, list[str]] = {}
    for statement in statements:
        found = [f"Action::{action}" for action in statement.actions]
        found += [
            f"Resource::{_format_resource(Stack.of(role).resolve(resource))}"
            for resource in statement.resources
        ]
        for wildcard in (text for text in found if "*" in text):
            reasons.setdefault(wildcard, []).append(f"{statement.sid}: {statement.reason}")
    for wildcard, texts in reasons.items():
        acknowledge(role, f"AwsSolutions-IAM5[{wildcard}]", "; ".join(texts))


def _format_resource(value: object) -> str:
    """Format a resource as cdk-nag does: `<Bucket.Arn>/data/*` for the objects of a bucket."""
    match value:
        case {"Ref": name}:
            return f"<{name}>"
        case {"Fn::GetAtt": [resource, attribute]}:
            return f"<{resource}.{attribute}>"
        case {"Fn::Join": [separator, parts]}:
            return str(separator).join(_format_resource(part) for part in parts)
        case _:  # IAM's own variables, such as `${aws:userid}`, are formatted like references
            return re.sub(r"\$\{(.+?)\}", r"<\1>", str(value))
