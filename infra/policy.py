"""A right: what may be done, on what, and why. All of a role's policies are made of these."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aws_cdk import Aws, Stack
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.checks import acknowledge

ANYTHING = "*"


@dataclass(frozen=True)
class Statement:
    """One statement of a policy."""

    name: str
    """The statement's id: `ReadReleases`."""
    why: str
    """Whoever reads the role reads this; it is the written reason for each wildcard as well."""
    actions: Sequence[str]
    on: Sequence[str]
    """ARNs. `*` is for actions that AWS knows no resource for."""
    when: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    def statement(self) -> iam.PolicyStatement:
        """Return it as IAM has it."""
        return iam.PolicyStatement(
            sid=self.name,
            # Lists, not tuples, and dicts: the other half of the CDK knows no others.
            actions=list(self.actions),
            resources=list(self.on),
            conditions=dict(self.when),
        )


def arn(service: str, resource: str) -> str:
    """Return the ARN of a resource in the stack's own account and region."""
    return f"arn:{Aws.PARTITION}:{service}:{Aws.REGION}:{Aws.ACCOUNT_ID}:{resource}"


def role(
    scope: Construct,
    name: str,
    description: str,
    trusted: iam.IPrincipal,
    rights: Sequence[Statement],
) -> iam.Role:
    """Build a role that has these rights and no others.

    They are in the role itself, not in a policy beside it: what names the role can then rely on
    what it may do (a SageMaker model, say, is refused whose role can't read yet).
    """
    made = iam.Role(
        scope,
        name,
        description=description,
        assumed_by=trusted,
        inline_policies={
            "rights": iam.PolicyDocument(statements=[one.statement() for one in rights])
        },
    )
    _explain_wildcards(made, rights)
    return made


def _explain_wildcards(holder: Construct, rights: Sequence[Statement]) -> None:
    """Accept each wildcard that the rights have, by its own name, for the reason that they give."""
    reasons: dict[str, list[str]] = {}
    for one in rights:
        found = [f"Action::{action}" for action in one.actions]
        found += [f"Resource::{_in_words(Stack.of(holder).resolve(arn))}" for arn in one.on]
        for wildcard in (text for text in found if "*" in text):
            reasons.setdefault(wildcard, []).append(f"{one.name}: {one.why}")
    for wildcard, why in reasons.items():
        acknowledge(holder, f"AwsSolutions-IAM5[{wildcard}]", "; ".join(why))


def _in_words(value: object) -> str:
    """Write a resource as the check does: `<Bucket.Arn>/data/*` for the objects of a bucket."""
    match value:
        case {"Ref": name}:
            return f"<{name}>"
        case {"Fn::GetAtt": [resource, attribute]}:
            return f"<{resource}.{attribute}>"
        case {"Fn::Join": [separator, parts]}:
            return str(separator).join(_in_words(part) for part in parts)
        case _:  # IAM's own variables, `${aws:userid}`, as well
            return re.sub(r"\$\{(.+?)\}", r"<\1>", str(value))
