"""The roles in the templates: each has its own permissions and no others."""

import json
import re

import pytest
from pydantic import ValidationError

from contract.names import Image, training_job_prefix
from contract.paths import PROJECT_ROOT
from contract.settings.sections import MAX_TRAINING_HOURS, TrainingSettings
from tests.infra.conftest import StageTemplates, as_list

STREAMS_OF_JOBS = "log-stream:{}*"
JOB_LOGS = {
    "RolesDeployingRole": {"logs:DescribeLogStreams": "*", "logs:GetLogEvents": STREAMS_OF_JOBS},
    "RolesTrainingRole": {
        "logs:CreateLogGroup": "*",
        "logs:CreateLogStream": STREAMS_OF_JOBS,
        "logs:DescribeLogStreams": "*",
        "logs:PutLogEvents": STREAMS_OF_JOBS,
    },
}
"""What each role may do with the log group of training jobs, and with which of its streams."""


def _role_statements(templates: StageTemplates, role: str) -> list[dict[str, object]]:
    """Return the statements of the role whose logical id starts with a text."""
    return [
        statement for logical_id, statement in templates.statements() if logical_id.startswith(role)
    ]


def _actions(statements: list[dict[str, object]]) -> set[str]:
    return {action for statement in statements for action in as_list(statement["Action"])}


def _statement_with(statements: list[dict[str, object]], action: str) -> dict[str, object]:
    """Return the only statement that allows an action."""
    (found,) = [statement for statement in statements if action in as_list(statement["Action"])]
    return found


def test_roles_have_inline_policies_only(templates: StageTemplates) -> None:
    for logical_id, role in templates.resources("AWS::IAM::Role"):
        assert not role["Properties"].get("ManagedPolicyArns"), logical_id
    assert not list(templates.resources("AWS::IAM::Policy"))
    assert not list(templates.resources("AWS::IAM::ManagedPolicy"))


def test_statements_name_their_actions(templates: StageTemplates) -> None:
    for logical_id, statement in templates.statements():
        assert statement["Effect"] == "Allow"
        assert statement["Sid"], logical_id
        for action in as_list(statement["Action"]):
            assert action == "kms:GenerateDataKey*" or "*" not in action, (logical_id, action)


def test_statements_name_their_resources_where_aws_supports_it(templates: StageTemplates) -> None:
    unsupported = {
        "cloudwatch:PutMetricData",
        "ecr:GetAuthorizationToken",
        "ec2:DescribeDhcpOptions",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSubnets",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeVpcs",
        "sagemaker:ListModels",
        "sagemaker:ListTrainingJobs",
        "sagemaker:ListEndpointConfigs",
        "ssmmessages:CreateControlChannel",
        "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel",
        "ssmmessages:OpenDataChannel",
    }
    for logical_id, statement in templates.statements():
        if "*" in as_list(statement["Resource"]):
            assert set(as_list(statement["Action"])) <= unsupported, (logical_id, statement)
            if "cloudwatch:PutMetricData" in as_list(statement["Action"]):
                assert "cloudwatch:namespace" in statement["Condition"]["StringEquals"]


def test_roles_are_passed_to_one_service_only(templates: StageTemplates) -> None:
    passed = [
        (logical_id[: -len("12345678")], statement)
        for logical_id, statement in templates.statements()
        if "iam:PassRole" in as_list(statement["Action"])
    ]
    services = {"RolesDeployingRole": "sagemaker", "MlflowBastionViewingRole": "ecs-tasks"}
    assert sorted(role for role, _ in passed) == [
        "MlflowBastionViewingRole",
        "RolesDeployingRole",
        "RolesDeployingRole",
    ]
    for role, statement in passed:
        for resource in as_list(statement["Resource"]):
            assert "Fn::GetAtt" in resource  # a specific role
        assert statement["Condition"] == {
            "StringEquals": {"iam:PassedToService": f"{services[role]}.amazonaws.com"}
        }


def test_viewing_starts_the_bastion_only(templates: StageTemplates) -> None:
    statements = _role_statements(templates, "MlflowBastionViewingRole")
    run = _statement_with(statements, "ecs:RunTask")

    assert "-bastion:*" in json.dumps(run["Resource"])
    assert "ecs:cluster" in json.dumps(run["Condition"])
    assert not [
        action
        for action in _actions(statements)
        if action.startswith(("secretsmanager:", "s3:", "kms:", "sagemaker:"))
    ]


def test_viewing_forwards_ports_and_opens_no_shell(templates: StageTemplates) -> None:
    statements = _role_statements(templates, "MlflowBastionViewingRole")
    start = _statement_with(statements, "ssm:StartSession")

    documents = [
        resource for resource in as_list(start["Resource"]) if "document/" in json.dumps(resource)
    ]
    assert len(documents) == 1
    assert "document/AWS-StartPortForwardingSessionToRemoteHost" in json.dumps(documents)
    # Without this condition, a session that names no document would open a shell.
    assert start["Condition"] == {"BoolIfExists": {"ssm:SessionDocumentAccessCheck": "true"}}
    # Session Manager can't connect to the server's tasks, which do not enable ECS Exec.
    (service,) = templates.properties("AWS::ECS::Service")
    assert not service.get("EnableExecuteCommand")


def test_viewing_terminates_only_sessions_of_the_same_user(templates: StageTemplates) -> None:
    statements = _role_statements(templates, "MlflowBastionViewingRole")
    end = _statement_with(statements, "ssm:TerminateSession")

    # The id of a session starts with the user's id, and Session Manager tags the session with it.
    assert end["Condition"] == {
        "StringEquals": {"ssm:resourceTag/aws:ssmmessages:session-id": "${aws:userid}"}
    }


def test_serving_reads_releases_and_writes_captured_data_only(templates: StageTemplates) -> None:
    statements = _role_statements(templates, "RolesServingRole")
    assert _actions(statements) == {
        "s3:GetObject",
        "s3:PutObject",
        "s3:ListBucket",
        "kms:Decrypt",
        "kms:DescribeKey",
        "kms:GenerateDataKey*",
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:GetAuthorizationToken",
        "ecr:GetDownloadUrlForLayer",
        "logs:CreateLogGroup",
        "logs:CreateLogStream",
        "logs:DescribeLogStreams",
        "logs:PutLogEvents",
        "cloudwatch:PutMetricData",
    }
    write = _statement_with(statements, "s3:PutObject")
    read = _statement_with(statements, "s3:GetObject")
    assert "/captured/*" in json.dumps(write["Resource"])
    assert "/releases/*" in json.dumps(read["Resource"])


def test_deploying_describes_the_rollback_alarms_only(templates: StageTemplates) -> None:
    statements = _role_statements(templates, "RolesDeployingRole")
    describe = _statement_with(statements, "cloudwatch:DescribeAlarms")

    named = [json.dumps(resource) for resource in as_list(describe["Resource"])]
    names = {alarm.get("AlarmName") for alarm in templates.properties("AWS::CloudWatch::Alarm")}
    names.discard(None)  # CloudFormation names the notification alarms
    assert len(named) == len(names)
    assert all(any(f":alarm:{name}" in resource for resource in named) for name in names)


def documented_actions(role: str) -> set[str]:
    """Return the actions that docs/operations.md lists for a role."""
    docs = (PROJECT_ROOT / "docs/operations.md").read_text()
    table = docs.partition("### Calls")[2].partition("\n## ")[0]
    rows = [row for row in table.splitlines() if row.startswith(f"| {role} |")]
    return set(re.findall(r"`([a-z0-9]+:[A-Za-z0-9*]+)`", "\n".join(rows)))


def test_deploying_records_the_images_that_it_pushes(templates: StageTemplates) -> None:
    """Not MLflow's: a new digest of it would deploy it."""
    statements = _role_statements(templates, "RolesDeployingRole")
    prefix = f"parameter/{templates.stage.prefix}"

    write = json.dumps(_statement_with(statements, "ssm:PutParameter")["Resource"])
    assert [f"{prefix}/{image}-image" in write for image in Image] == [True, True, False]
    read = json.dumps(_statement_with(statements, "ssm:GetParameter")["Resource"])
    assert all(f"{prefix}/{image}-image" in read for image in Image)


@pytest.mark.parametrize(
    ("role", "logical_id"),
    [("deploying", "RolesDeployingRole"), ("training", "RolesTrainingRole")],
)
def test_roles_allow_the_calls_in_the_docs(
    templates: StageTemplates, role: str, logical_id: str
) -> None:
    documented = documented_actions(role)

    assert len(documented) > 10
    allowed = _actions(_role_statements(templates, logical_id))
    assert documented <= allowed
    if role == "training":  # its table is complete
        assert documented == allowed


@pytest.mark.parametrize("role", JOB_LOGS)
def test_job_logs_of_other_stages_are_neither_read_nor_written(
    templates: StageTemplates, role: str
) -> None:
    """All stages of an account share the log group; SageMaker names streams by the job."""
    group = ":log-group:/aws/sagemaker/TrainingJobs:"
    allowed = [
        (action, resource["Fn::Join"][1][-1].partition(group)[2])
        for statement in _role_statements(templates, role)
        for action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
        if group in json.dumps(resource)
    ]

    prefix = training_job_prefix(templates.stage)
    expected = {action: streams.format(prefix) for action, streams in JOB_LOGS[role].items()}
    assert sorted(allowed) == sorted(expected.items())


def test_endpoint_logs_are_those_of_the_stage(templates: StageTemplates) -> None:
    for role in ("RolesDeployingRole", "RolesServingRole"):
        resources = [
            json.dumps(resource)
            for statement in _role_statements(templates, role)
            for resource in as_list(statement["Resource"])
            if "log-group:/aws/sagemaker/Endpoints" in json.dumps(resource)
        ]
        assert resources
        group = f"log-group:/aws/sagemaker/Endpoints/{templates.stage.endpoint}:"
        assert all(group in resource for resource in resources)


def test_deploying_creates_training_jobs_within_limits_only(templates: StageTemplates) -> None:
    statements = _role_statements(templates, "RolesDeployingRole")
    conditions = _statement_with(statements, "sagemaker:CreateTrainingJob")["Condition"]
    assert isinstance(conditions, dict)

    lists = conditions["ForAllValues:StringEquals"]
    assert lists["sagemaker:InstanceTypes"] == [templates.stage.training_instance_type]
    assert len(lists["sagemaker:VpcSubnets"]) == templates.stage.zones
    assert len(lists["sagemaker:VpcSecurityGroupIds"]) == 1
    # ForAllValues matches a request without the key, too.
    assert conditions["Null"] == dict.fromkeys(lists, "false")
    assert set(conditions["ArnEquals"]) == {"sagemaker:OutputKmsKey", "sagemaker:VolumeKmsKey"}
    assert conditions["NumericLessThanEquals"] == {"sagemaker:MaxRuntimeInSeconds": "432000"}
    # train-warm-pools-how-to-use.html: a request without a warm pool doesn't have the key.
    warm_pool = {"sagemaker:KeepAlivePeriod": "0"}
    assert conditions["NumericLessThanEqualsIfExists"] == warm_pool


def test_volumes_of_a_job_are_encrypted_by_a_grant_of_its_own_role(
    templates: StageTemplates,
) -> None:
    """api-permissions-reference.html: CreateTrainingJob requires kms:CreateGrant of its caller only
    if "the associated role does not have a policy that permits this action"; CreateEndpoint does
    in any case.
    """
    for role in ("RolesTrainingRole", "RolesDeployingRole"):
        grant = _statement_with(_role_statements(templates, role), "kms:CreateGrant")
        assert grant["Condition"] == {"Bool": {"kms:GrantIsForAWSResource": "true"}}
    assert "kms:CreateGrant" in documented_actions("training")
    assert "kms:CreateGrant" not in documented_actions("deploying")


def test_deploying_permits_every_time_limit_that_the_settings_accept() -> None:
    TrainingSettings(max_hours=MAX_TRAINING_HOURS)
    with pytest.raises(ValidationError, match="max_hours"):
        TrainingSettings(max_hours=MAX_TRAINING_HOURS + 1)


def test_invoking_invokes_the_endpoint_only(templates: StageTemplates) -> None:
    (statement,) = _role_statements(templates, "RolesInvokingRole")

    assert statement["Action"] == "sagemaker:InvokeEndpoint"
    assert f"endpoint/{templates.stage.endpoint}" in json.dumps(statement["Resource"])


def test_training_deletes_nothing_and_reads_one_password(templates: StageTemplates) -> None:
    statements = _role_statements(templates, "RolesTrainingRole")

    deletes = {action for action in _actions(statements) if "Delete" in action}
    assert all(action.startswith("ec2:") for action in deletes)
    read = _statement_with(statements, "secretsmanager:GetSecretValue")
    assert "TrainingPassword" in json.dumps(read["Resource"])
    assert len(as_list(read["Resource"])) == 1


def test_training_manages_network_interfaces_of_its_own_vpc_only(
    templates: StageTemplates,
) -> None:
    """CreateNetworkInterface knows the VPC of the subnet, not that of the interface it creates."""
    statements = _role_statements(templates, "RolesTrainingRole")
    conditions = {
        (action, resource["Fn::Join"][1][-1].split("/")[0].rpartition(":")[2]): json.dumps(
            statement.get("Condition")
        )
        for statement in statements
        for action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
        if action.startswith("ec2:") and resource != "*"
    }

    without_a_key = ("ec2:CreateNetworkInterface", "network-interface")
    assert conditions.pop(without_a_key) == "null"
    assert sorted(conditions) == [
        ("ec2:CreateNetworkInterface", "security-group"),
        ("ec2:CreateNetworkInterface", "subnet"),
        ("ec2:CreateNetworkInterfacePermission", "network-interface"),
        ("ec2:DeleteNetworkInterface", "network-interface"),
        ("ec2:DeleteNetworkInterfacePermission", "network-interface"),
    ]
    for condition in conditions.values():
        assert condition.startswith('{"ArnEquals": {"ec2:Vpc": ')
        assert '{"Ref": "NetworkVpc' in condition


@pytest.mark.parametrize("role", ["MlflowBastionExecutionRole", "MlflowBastionTaskRole"])
def test_bastion_roles_read_no_secrets(templates: StageTemplates, role: str) -> None:
    statements = _role_statements(templates, role)

    assert statements
    forbidden = ("secretsmanager:", "kms:")
    assert not [action for action in _actions(statements) if action.startswith(forbidden)]


def test_services_may_assume_roles_for_this_account_only(templates: StageTemplates) -> None:
    for _, role in templates.resources("AWS::IAM::Role"):
        for statement in role["Properties"]["AssumeRolePolicyDocument"]["Statement"]:
            if "Service" in statement["Principal"]:
                assert statement["Condition"] == {
                    "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
                }
            else:
                assert ":root" in json.dumps(statement["Principal"]["AWS"])
