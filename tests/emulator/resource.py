"""What the emulated resource types have in common."""

from typing import Any, ClassVar

from botocore.exceptions import ClientError

from tests.emulator.account import client_at

Properties = dict[str, Any]


class Resource:
    """A resource that is made and unmade by calls to the account itself.

    moto looks for direct subclasses of its model: this one is mixed in.
    """

    type: ClassVar[str]
    attributes: ClassVar[tuple[str, ...]] = ("Arn", "Id")
    """What `Fn::GetAtt` may ask for."""
    address: ClassVar[str] = ""

    def __init__(self, name: str, properties: Properties, region: str) -> None:
        self.physical_resource_id = name
        self.arn = ""
        self.made = False
        self.properties = properties
        self.region = region

    def make(self) -> None:
        """Make it, or make it anew with other properties."""
        raise NotImplementedError

    def unmake(self) -> None:
        """Delete it."""

    def attribute(self, name: str) -> str:
        """Return what `Fn::GetAtt` is answered."""
        raise KeyError(name)

    def client(self, service: str) -> Any:
        return client_at(self.address, self.region, service)

    # What moto asks a model for.

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
        return self.attribute(attribute_name)

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: Properties,
        account_id: str,
        region_name: str,
        **_: Any,
    ) -> "Resource":
        made = cls(resource_name, cloudformation_json["Properties"], region_name)
        made.make()
        made.made = True
        return made

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
        original_resource.make()
        return original_resource

    def delete(self, account_id: str, region: str) -> None:
        # moto deletes a stack's resources in any order: what this one was of may be gone already.
        try:
            self.unmake()
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise

    def is_created(self) -> bool:
        return True
