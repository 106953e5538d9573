"""CloudFormation properties and attributes that the CDK's constructs don't expose."""

from aws_cdk import CfnResource
from constructs import IConstruct


def override_property(construct: IConstruct, name: str, value: object) -> None:
    """Set a property of a construct's CloudFormation resource."""
    _get_resource(construct).add_property_override(name, value)


def get_attribute(construct: IConstruct, name: str) -> str:
    """Return an attribute of a construct's CloudFormation resource, as a token."""
    return _get_resource(construct).get_att(name).to_string()


def _get_resource(construct: IConstruct) -> CfnResource:
    resource = construct.node.default_child or construct
    if not isinstance(resource, CfnResource):
        raise TypeError(f"{construct.node.path} has no single CloudFormation resource")
    return resource
