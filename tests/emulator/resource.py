"""The base class of the emulated resource types."""

from typing import Any, ClassVar

from botocore.exceptions import ClientError

from tests.emulator.account import client_at

Properties = dict[str, Any]


class Resource:
    """A resource that is created and deleted through the account's own API.

    moto registers direct subclasses of CloudFormationModel only: a resource type inherits from
    both classes.
    """

    type: ClassVar[str]
    attributes: ClassVar[tuple[str, ...]] = ("Arn", "Id")
    """The attributes that `Fn::GetAtt` supports."""
    address: ClassVar[str] = ""
    """The account's endpoint URL."""

    def __init__(self, name: str, properties: Properties, region: str) -> None:
        self.physical_resource_id = name
        self.arn = ""
        self.exists = False
        self.properties = properties
        self.region = region

    def create_or_update(self) -> None:
        """Create the resource, or update it to its current properties."""
        raise NotImplementedError

    def delete_resource(self) -> None:
        """Delete the resource."""

    def get_attribute(self, name: str) -> str:
        """Return the value of `Fn::GetAtt`."""
        raise KeyError(name)

    def client(self, service: str) -> Any:
        return client_at(self.address, self.region, service)

    # The interface that moto calls.

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @classmethod
    def cloudformation_type(cls) -> str:
        return cls.type

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr in cls.attributes

    def get_cfn_attribute(self, attribute_name: str) -> str:
        return self.get_attribute(attribute_name)

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: Properties,
        account_id: str,
        region_name: str,
        **_: Any,
    ) -> "Resource":
        resource = cls(resource_name, cloudformation_json["Properties"], region_name)
        resource.create_or_update()
        resource.exists = True
        return resource

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: "Resource",
        new_resource_name: str,
        cloudformation_json: Properties,
        account_id: str,
        region_name: str,
    ) -> "Resource":
        original_resource.properties = cloudformation_json["Properties"]
        original_resource.create_or_update()
        return original_resource

    def delete(self, account_id: str, region: str) -> None:
        # moto deletes a stack's resources in any order: the parent may be deleted already.
        try:
            self.delete_resource()
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise

    def is_created(self) -> bool:
        return True
