"""What moto's CloudFormation gets wrong in the types that it has, mended.

A bucket's policy is kept and told, and not enforced: moto takes a denial whatever condition it has,
so that one of requests without TLS would be one of all requests.
"""

import json
from typing import Any

from moto.cloudformation import parsing
from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.models import CloudFormationBackend, Stack
from moto.cloudformation.parsing import ResourceMap
from moto.cloudformation.responses import CloudFormationResponse
from moto.core.responses import ActionResult
from moto.ec2.models.route_tables import RouteTable
from moto.ec2.models.vpcs import VPCEndPoint
from moto.ecs.models import EC2ContainerServiceBackend, Task, TaskDefinition
from moto.elbv2.models import FakeLoadBalancer, FakeTargetGroup
from moto.iam.access_control import PermissionResult
from moto.iam.exceptions import EntityAlreadyExists, InvalidInput
from moto.iam.models import IAMBackend, Role
from moto.rds.models import DBInstance, DBParameterGroup
from moto.s3.models import FakeBucket

OUTPUTS = vars(Stack)["outputs"].fget
RESOURCE_DIFF = ResourceMap.build_resource_diff
VALIDATE_UPDATE = CloudFormationResponse._validate_different_update
BALANCER_ATTRIBUTE = FakeLoadBalancer.get_cfn_attribute
UPDATE_RESOURCE = parsing.parse_and_update_resource
LET_ACT = IAMBackend.create_service_linked_role
DELETE_STACK = CloudFormationBackend.delete_stack
CREATE_DATABASE = vars(DBInstance)["create_from_cloudformation_json"].__func__


def mend() -> None:
    """Make it so."""
    mended: list[tuple[type, str, Any]] = [
        (FakeBucket, "get_permission", lambda *_: PermissionResult.NEUTRAL),
        (DBParameterGroup, "physical_resource_id", property(lambda group: group.name)),
        (
            FakeTargetGroup,
            "get_cfn_attribute",
            lambda group, _name: group.arn.rpartition(":")[2],
        ),
        (FakeLoadBalancer, "get_cfn_attribute", _balancer_attribute),
        (RouteTable, "delete", _delete_route_table),
        (VPCEndPoint, "delete", _delete_endpoint),
        (CloudFormationBackend, "_resolve_update_parameters", _resolve_update_parameters),
        (CloudFormationResponse, "_validate_different_update", _validate_different_update),
        (TaskDefinition, "update_from_cloudformation_json", classmethod(_update_task)),
        # It would end by being looked at.
        (Task, "advance", lambda _task: None),
        # Of instances, and asks each container for its memory: Fargate's have the task's.
        (
            EC2ContainerServiceBackend,
            "_calculate_task_resource_requirements",
            staticmethod(lambda _task: {}),
        ),
        (CloudFormationResponse, "update_termination_protection", _protect),
        (CloudFormationBackend, "delete_stack", _delete_stack),
        (IAMBackend, "create_service_linked_role", _let_act),
        (Role, "put_policy", _put_policy),
        (Stack, "outputs", property(_outputs)),
        (ResourceMap, "build_resource_diff", _build_resource_diff),
        (DBInstance, "create_from_cloudformation_json", classmethod(_create_database)),
    ]
    for owner, name, value in mended:
        setattr(owner, name, value)
    parsing.parse_and_update_resource = _update_resource  # type: ignore[assignment]


def _balancer_attribute(balancer: Any, name: str) -> Any:
    if name == "LoadBalancerFullName":
        return balancer.arn.partition(":loadbalancer/")[2]
    return BALANCER_ATTRIBUTE(balancer, name)


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


def _outputs(stack: Any) -> Any:
    # They are found by looking resources up, which makes them anew where they were deleted.
    return None if stack.status == "DELETE_COMPLETE" else OUTPUTS(stack)


def _build_resource_diff(
    resources: Any, other_template: dict[str, Any], parameters: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Change what depends on a parameter of Systems Manager's, when its value has changed there."""
    diff: dict[str, Any] = RESOURCE_DIFF(resources, other_template, parameters)
    changed = [
        name
        for name, one in other_template.get("Parameters", {}).items()
        if one["Type"].startswith("AWS::SSM::Parameter::")
        and name in resources.resolved_parameters
        and resources.parse_ssm_parameter(one["Default"], one["Type"])
        != resources.resolved_parameters[name]
    ]
    conditions = [
        name
        for name, one in other_template.get("Conditions", {}).items()
        if any(json.dumps({"Ref": parameter}) in json.dumps(one) for parameter in changed)
    ]
    for name, resource in other_template["Resources"].items():
        text = json.dumps(resource)
        if name not in diff["Add"] + diff["Modify"] and any(
            f'{{"Fn::If": ["{condition}"' in text for condition in conditions
        ):
            diff["Modify"].append(name)
    return diff


def _validate_different_update(
    response: Any, incoming_params: Any, stack_body: str, old_stack: Any
) -> None:
    # A template that is the same makes a difference where one of those parameters has changed.
    if not any(old_stack.resource_map.build_resource_diff(json.loads(stack_body)).values()):
        VALIDATE_UPDATE(response, incoming_params, stack_body, old_stack)


def _protect(response: Any) -> ActionResult:
    stack = response.cloudformation_backend.get_stack(response._get_param("StackName"))
    wish = response._get_param("EnableTerminationProtection")
    stack.enable_termination_protection = str(wish).lower() == "true"
    return ActionResult({"StackId": stack.stack_id})


def _delete_stack(backend: Any, name_or_stack_id: str) -> None:
    # AWSCloudFormation/latest/UserGuide/using-cfn-protect-stacks.html: the deletion fails, and the
    # stack stays as it is.
    for stack in backend.stacks.values():
        if name_or_stack_id in {stack.name, stack.stack_id} and stack.enable_termination_protection:
            reason = "cannot be deleted while TerminationProtection is enabled"
            raise ValidationError(message=f"Stack [{stack.name}] {reason}")
    DELETE_STACK(backend, name_or_stack_id)


def _update_resource(logical_id: str, resource_json: Any, resources_map: Any, **place: Any) -> Any:
    made = UPDATE_RESOURCE(logical_id, resource_json, resources_map, **place)
    if made:
        return made
    # One that moto can't change would be forgotten.
    original: Any = resources_map[logical_id]
    if isinstance(original, DBInstance):
        wish = resource_json["Properties"].get("DeletionProtection", False)
        original.deletion_protection = wish
    return original


def _let_act(backend: Any, service_name: str, *more: Any) -> Any:
    # IAM/latest/APIReference/API_CreateServiceLinkedRole.html: InvalidInput where it exists.
    try:
        return LET_ACT(backend, service_name, *more)
    except EntityAlreadyExists:
        raise InvalidInput(
            f"Service role name for {service_name} has been taken in this account, "
            "please try a different suffix."
        ) from None


def _update_task(
    cls: Any,
    original_resource: Any,
    new_resource_name: str,
    cloudformation_json: dict[str, Any],
    account_id: str,
    region_name: str,
) -> Any:
    # A changed definition is a new revision; moto's own has its keys in capitals.
    return cls.create_from_cloudformation_json(
        new_resource_name, cloudformation_json, account_id, region_name
    )


def _put_policy(role: Any, policy_name: str, policy_json: Any) -> None:
    text = policy_json if isinstance(policy_json, str) else json.dumps(policy_json)
    role.policies[policy_name] = text


def _create_database(
    cls: Any, name: str, resource: dict[str, Any], *place: Any, **more: Any
) -> Any:
    made = CREATE_DATABASE(cls, name, resource, *place, **more)
    made.deletion_protection = resource["Properties"].get("DeletionProtection", False)
    return made
