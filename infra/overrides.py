"""What the CDK's constructs have no word for, and CloudFormation has."""

from aws_cdk import CfnResource
from constructs import IConstruct


def override(construct: IConstruct, name: str, value: object) -> None:
    """Set a property of the CloudFormation resource that a construct is made of."""
    resource = construct.node.default_child or construct
    if not isinstance(resource, CfnResource):
        raise TypeError(f"{construct.node.path} is no one resource")
    resource.add_property_override(name, value)
