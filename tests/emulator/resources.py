"""The resource types that moto's CloudFormation lacks or gets wrong.

Each is made by the calls that AWS's API has for it, and is named as its page in CloudFormation's
reference says that `Ref` does.
"""

from typing import Any

from moto.cloudformation import parsing
from moto.cloudformation.models import CloudFormationBackend
from moto.core.common_models import CloudFormationModel
from moto.ec2.models.route_tables import RouteTable
from moto.ec2.models.vpcs import VPCEndPoint
from moto.elbv2.models import FakeTargetGroup
from moto.iam.access_control import PermissionResult
from moto.rds.models import DBParameterGroup
from moto.s3.models import FakeBucket

from tests.emulator import network, storage, tasks, watching
from tests.emulator.resource import Resource

MODULES = (network, storage, tasks, watching)


def add_resources(address: str) -> None:
    """Make the types known to moto's CloudFormation, and let them call the account.

    Args:
        address: Of the account.
    """
    Resource.address = address
    _mend()
    for cache in (parsing.get_model_list, parsing.get_model_map, parsing.get_name_type_map):
        cache.cache_clear()
    known = parsing.get_model_map()
    for module in MODULES:
        for one in vars(module).values():
            if isinstance(one, type) and issubclass(one, Resource) and one is not Resource:
                assert issubclass(one, CloudFormationModel)
                known[one.type] = one  # in the place of moto's own, where it has one


def _mend() -> None:
    """Mend what moto gets wrong in the types that it has."""
    # A bucket's policy is kept and told, and not enforced: moto takes a denial whatever condition
    # it has, so that one of requests without TLS would be one of all requests.
    mended: list[tuple[type, str, Any]] = [
        (FakeBucket, "get_permission", lambda *_: PermissionResult.NEUTRAL),
        (DBParameterGroup, "physical_resource_id", property(lambda group: group.name)),
        (
            FakeTargetGroup,
            "get_cfn_attribute",
            lambda group, _name: group.arn.rpartition(":")[2],
        ),
        (RouteTable, "delete", _delete_route_table),
        (VPCEndPoint, "delete", _delete_endpoint),
        (CloudFormationBackend, "_resolve_update_parameters", _resolve_update_parameters),
    ]
    for owner, name, value in mended:
        setattr(owner, name, value)


def _delete_route_table(table: Any, *_: Any) -> None:
    table.associations.clear()
    table.ec2_backend.delete_route_table(table.id)


def _delete_endpoint(endpoint: Any, *_: Any) -> None:
    # Its routes may be gone with their table: a stack's resources are deleted in any order.
    endpoint.route_table_ids = [
        one for one in endpoint.route_table_ids or [] if one in endpoint.ec2_backend.route_tables
    ]
    endpoint.ec2_backend.delete_vpc_endpoints([endpoint.id])


def _resolve_update_parameters(
    _backend: Any, instance: Any, incoming_params: list[dict[str, str]]
) -> dict[str, str]:
    """Keep a previous value, which is the default where none was ever given."""
    given = {
        one["ParameterKey"]: one["ParameterValue"]
        for one in incoming_params
        if "ParameterValue" in one
    }
    kept = {
        one["ParameterKey"]: instance.parameters[one["ParameterKey"]]
        for one in incoming_params
        if one.get("UsePreviousValue") and one["ParameterKey"] in instance.parameters
    }
    return given | kept
