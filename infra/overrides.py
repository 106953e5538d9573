"""What the CDK's constructs have no word for, and CloudFormation has."""

from aws_cdk import CfnResource
from constructs import IConstruct


def override(construct: IConstruct, name: str, value: object) -> None:
    """Set a property of the CloudFormation resource that a construct is made of."""
    _resource(construct).add_property_override(name, value)


def attribute(construct: IConstruct, name: str) -> str:
    """Return what CloudFormation will tell of the resource that a construct is made of."""
    return _resource(construct).get_att(name).to_string()


def _resource(construct: IConstruct) -> CfnResource:
    resource = construct.node.default_child or construct
    if not isinstance(resource, CfnResource):
        raise TypeError(f"{construct.node.path} is no one resource")
    return resource
