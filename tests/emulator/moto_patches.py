"""Patches for what moto's CloudFormation gets wrong in the resource types that it has.

A bucket policy is stored and returned, but not enforced: moto applies a Deny statement without its
conditions, so that denying requests without TLS would deny all requests.
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

# moto's own implementations, which the patches call.
OUTPUTS = vars(Stack)["outputs"].fget
BUILD_RESOURCE_DIFF = ResourceMap.build_resource_diff
VALIDATE_DIFFERENT_UPDATE = CloudFormationResponse._validate_different_update
GET_LOAD_BALANCER_ATTRIBUTE = FakeLoadBalancer.get_cfn_attribute
UPDATE_RESOURCE = parsing.parse_and_update_resource
CREATE_SERVICE_LINKED_ROLE = IAMBackend.create_service_linked_role
DELETE_STACK = CloudFormationBackend.delete_stack
CREATE_DATABASE = vars(DBInstance)["create_from_cloudformation_json"].__func__


def apply_patches() -> None:
    """Replace the methods of moto's classes."""
    for owner, name, value in PATCHES:
        setattr(owner, name, value)
    parsing.parse_and_update_resource = _update_resource  # type: ignore[assignment]


def _load_balancer_attribute(load_balancer: Any, name: str) -> Any:
    if name == "LoadBalancerFullName":
        return load_balancer.arn.partition(":loadbalancer/")[2]
    return GET_LOAD_BALANCER_ATTRIBUTE(load_balancer, name)


def _delete_route_table(table: Any, *_: Any) -> None:
    table.associations.clear()
    table.ec2_backend.delete_route_table(table.id)


def _delete_vpc_endpoint(endpoint: Any, *_: Any) -> None:
    # moto deletes a stack's resources in any order: its route tables may be deleted already.
    endpoint.route_table_ids = [
        table
        for table in endpoint.route_table_ids or []
        if table in endpoint.ec2_backend.route_tables
    ]
    endpoint.ec2_backend.delete_vpc_endpoints([endpoint.id])


def _resolve_update_parameters(
    _backend: Any, instance: Any, incoming_params: list[dict[str, str]]
) -> dict[str, str]:
    """Resolve UsePreviousValue; without a previous value, the parameter's default applies."""
    passed = {
        parameter["ParameterKey"]: parameter["ParameterValue"]
        for parameter in incoming_params
        if "ParameterValue" in parameter
    }
    previous = {
        parameter["ParameterKey"]: instance.parameters[parameter["ParameterKey"]]
        for parameter in incoming_params
        if parameter.get("UsePreviousValue") and parameter["ParameterKey"] in instance.parameters
    }
    return passed | previous


def _outputs(stack: Any) -> Any:
    # Resolving outputs looks resources up, which creates deleted ones again.
    return None if stack.status == "DELETE_COMPLETE" else OUTPUTS(stack)


def _build_resource_diff(
    resources: Any, other_template: dict[str, Any], parameters: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Add the resources that depend on an SSM parameter whose value has changed."""
    diff: dict[str, Any] = BUILD_RESOURCE_DIFF(resources, other_template, parameters)
    changed = [
        name
        for name, parameter in other_template.get("Parameters", {}).items()
        if parameter["Type"].startswith("AWS::SSM::Parameter::")
        and name in resources.resolved_parameters
        and resources.parse_ssm_parameter(parameter["Default"], parameter["Type"])
        != resources.resolved_parameters[name]
    ]
    conditions = [
        name
        for name, condition in other_template.get("Conditions", {}).items()
        if any(json.dumps({"Ref": parameter}) in json.dumps(condition) for parameter in changed)
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
    # An unchanged template is still an update if one of its SSM parameters has changed.
    if not any(old_stack.resource_map.build_resource_diff(json.loads(stack_body)).values()):
        VALIDATE_DIFFERENT_UPDATE(response, incoming_params, stack_body, old_stack)


def _update_termination_protection(response: Any) -> ActionResult:
    stack = response.cloudformation_backend.get_stack(response._get_param("StackName"))
    enabled = response._get_param("EnableTerminationProtection")
    stack.enable_termination_protection = str(enabled).lower() == "true"
    return ActionResult({"StackId": stack.stack_id})


def _delete_stack(backend: Any, name_or_stack_id: str) -> None:
    # AWSCloudFormation/latest/UserGuide/using-cfn-protect-stacks.html: the deletion fails, and the
    # stack and its status remain unchanged.
    for stack in backend.stacks.values():
        if name_or_stack_id in {stack.name, stack.stack_id} and stack.enable_termination_protection:
            reason = "cannot be deleted while TerminationProtection is enabled"
            raise ValidationError(message=f"Stack [{stack.name}] {reason}")
    DELETE_STACK(backend, name_or_stack_id)


def _update_resource(logical_id: str, resource_json: Any, resources_map: Any, **place: Any) -> Any:
    updated = UPDATE_RESOURCE(logical_id, resource_json, resources_map, **place)
    if updated:
        return updated
    # moto drops a resource that it can't update from the stack: keep it.
    original: Any = resources_map[logical_id]
    if isinstance(original, DBInstance):
        protected = resource_json["Properties"].get("DeletionProtection", False)
        original.deletion_protection = protected
    return original


def _create_service_linked_role(backend: Any, service_name: str, *more: Any) -> Any:
    # IAM/latest/APIReference/API_CreateServiceLinkedRole.html: InvalidInput if it exists.
    try:
        return CREATE_SERVICE_LINKED_ROLE(backend, service_name, *more)
    except EntityAlreadyExists:
        raise InvalidInput(
            f"Service role name for {service_name} has been taken in this account, "
            "please try a different suffix."
        ) from None


def _update_task_definition(
    cls: Any,
    original_resource: Any,
    new_resource_name: str,
    cloudformation_json: dict[str, Any],
    account_id: str,
    region_name: str,
) -> Any:
    # A changed definition is a new revision. moto's own method leaves the keys capitalized.
    return cls.create_from_cloudformation_json(
        new_resource_name, cloudformation_json, account_id, region_name
    )


def _put_role_policy(role: Any, policy_name: str, policy_json: Any) -> None:
    text = policy_json if isinstance(policy_json, str) else json.dumps(policy_json)
    role.policies[policy_name] = text


def _create_database(
    cls: Any, name: str, resource: dict[str, Any], *place: Any, **more: Any
) -> Any:
    database = CREATE_DATABASE(cls, name, resource, *place, **more)
    database.deletion_protection = resource["Properties"].get("DeletionProtection", False)
    return database


PATCHES: list[tuple[type, str, Any]] = [
    (FakeBucket, "get_permission", lambda *_: PermissionResult.NEUTRAL),
    (DBParameterGroup, "physical_resource_id", property(lambda group: group.name)),
    (FakeTargetGroup, "get_cfn_attribute", lambda group, _name: group.arn.rpartition(":")[2]),
    (FakeLoadBalancer, "get_cfn_attribute", _load_balancer_attribute),
    (RouteTable, "delete", _delete_route_table),
    (VPCEndPoint, "delete", _delete_vpc_endpoint),
    (CloudFormationBackend, "_resolve_update_parameters", _resolve_update_parameters),
    (CloudFormationResponse, "_validate_different_update", _validate_different_update),
    (TaskDefinition, "update_from_cloudformation_json", classmethod(_update_task_definition)),
    # Without this, describing a task would stop it.
    (Task, "advance", lambda _task: None),
    # Meant for EC2 instances: it reads each container's memory, which on Fargate the task sets.
    (
        EC2ContainerServiceBackend,
        "_calculate_task_resource_requirements",
        staticmethod(lambda _task: {}),
    ),
    (CloudFormationResponse, "update_termination_protection", _update_termination_protection),
    (CloudFormationBackend, "delete_stack", _delete_stack),
    (IAMBackend, "create_service_linked_role", _create_service_linked_role),
    (Role, "put_policy", _put_role_policy),
    (Stack, "outputs", property(_outputs)),
    (ResourceMap, "build_resource_diff", _build_resource_diff),
    (DBInstance, "create_from_cloudformation_json", classmethod(_create_database)),
]
