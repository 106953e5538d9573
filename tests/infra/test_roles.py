"""What a template shows of the roles: each has its rights and no others."""

import json

from tests.infra.conftest import Synthesised, listed


def test_no_role_has_more_than_it_says(stack: Synthesised) -> None:
    for name, role in stack.of_type("AWS::IAM::Role"):
        assert not role["Properties"].get("ManagedPolicyArns"), name
    assert not list(stack.of_type("AWS::IAM::Policy"))  # none is added beside a role
    assert not list(stack.of_type("AWS::IAM::ManagedPolicy"))
    for name, statement in stack.statements():
        assert statement["Effect"] == "Allow"
        assert statement["Sid"], name
        for action in listed(statement["Action"]):
            assert action == "kms:GenerateDataKey*" or "*" not in action, (name, action)


def test_resources_are_named_unless_aws_knows_none(stack: Synthesised) -> None:
    unnamed = {
        *("cloudwatch:DescribeAlarms", "cloudwatch:PutMetricData", "ecr:GetAuthorizationToken"),
        *("ec2:DescribeDhcpOptions", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets"),
        *("ec2:DescribeSecurityGroups", "ec2:DescribeVpcs", "sagemaker:ListModels"),
        *("sagemaker:ListTrainingJobs", "sagemaker:ListEndpointConfigs"),
        *("ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel"),
        *("ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel"),
    }
    for name, statement in stack.statements():
        if "*" in listed(statement["Resource"]):
            assert set(listed(statement["Action"])) <= unnamed, (name, statement)
            if "cloudwatch:PutMetricData" in listed(statement["Action"]):
                assert "cloudwatch:namespace" in statement["Condition"]["StringEquals"]


def test_a_role_is_passed_to_one_service_alone(stack: Synthesised) -> None:
    passed = [
        (name, statement)
        for name, statement in stack.statements()
        if "iam:PassRole" in listed(statement["Action"])
    ]
    services = {"RolesDeploying": "sagemaker", "MlflowForwardingViewing": "ecs-tasks"}
    assert sorted(name[:-8] for name, _ in passed) == [
        *("MlflowForwardingViewing", "RolesDeploying", "RolesDeploying"),
    ]
    for name, statement in passed:
        for resource in listed(statement["Resource"]):
            assert "Fn::GetAtt" in resource  # a role, by its name
        assert statement["Condition"] == {
            "StringEquals": {"iam:PassedToService": f"{services[name[:-8]]}.amazonaws.com"}
        }


def test_who_views_forwards_ports_and_opens_no_shell(stack: Synthesised) -> None:
    viewing = [one for name, one in stack.statements() if "Viewing" in name]
    (forwards,) = [one for one in viewing if "ssm:StartSession" in listed(one["Action"])]
    (starts,) = [one for one in viewing if "ecs:RunTask" in listed(one["Action"])]

    documents = [one for one in forwards["Resource"] if "document/" in json.dumps(one)]
    assert len(documents) == 1
    assert "document/AWS-StartPortForwardingSessionToRemoteHost" in json.dumps(documents)
    # Else a session without a document would be a shell.
    assert forwards["Condition"] == {"BoolIfExists": {"ssm:SessionDocumentAccessCheck": "true"}}
    assert "-forward:*" in json.dumps(starts["Resource"])
    assert "ecs:cluster" in starts["Condition"]["ArnEquals"]
    assert not [
        action
        for one in viewing
        for action in listed(one["Action"])
        if action.startswith(("secretsmanager:", "s3:", "kms:", "sagemaker:"))
    ]
    # Sessions get names by their beginner's, and are tagged with who that is.
    (ends,) = [one for one in viewing if "ssm:TerminateSession" in listed(one["Action"])]
    assert ends["Condition"]["StringEquals"] == {
        "ssm:resourceTag/aws:ssmmessages:session-id": "${aws:userid}"
    }
    # Session Manager gets into no task that doesn't let it in, as the server's don't.
    (service,) = stack.properties("AWS::ECS::Service")
    assert not service.get("EnableExecuteCommand")


def _actions(stack: Synthesised, role: str) -> set[str]:
    return {
        action
        for name, statement in stack.statements()
        if name.startswith(f"Roles{role}")
        for action in listed(statement["Action"])
    }


def test_serving_reads_writes_its_log_and_nothing_else(stack: Synthesised) -> None:
    assert _actions(stack, "Serving") == {
        *("s3:GetObject", "s3:PutObject", "s3:ListBucket"),
        *("kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey*"),
        *("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage"),
        *("ecr:GetAuthorizationToken", "ecr:GetDownloadUrlForLayer"),
        *("logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams"),
        *("logs:PutLogEvents", "cloudwatch:PutMetricData"),
    }
    written = [
        json.dumps(statement["Resource"])
        for name, statement in stack.statements()
        if name.startswith("RolesServing") and "s3:PutObject" in listed(statement["Action"])
    ]
    assert len(written) == 1
    assert "/captured/*" in written[0]


def test_who_invokes_may_do_that_alone(stack: Synthesised) -> None:
    (statement,) = [one for name, one in stack.statements() if name.startswith("RolesInvoking")]

    assert statement["Action"] == "sagemaker:InvokeEndpoint"
    assert f"endpoint/{stack.stage.endpoint}" in json.dumps(statement["Resource"])


def test_who_starts_the_forwarding_task_reads_no_password(stack: Synthesised) -> None:
    (starts,) = {name for name, _ in stack.statements() if "StartingForward" in name}
    actions = {
        action
        for name, statement in stack.statements()
        if name == starts
        for action in listed(statement["Action"])
    }

    assert not [one for one in actions if one.startswith(("secretsmanager:", "kms:"))]


def test_training_deletes_nothing_and_reads_one_password(stack: Synthesised) -> None:
    actions = _actions(stack, "Training")

    assert not [one for one in actions if "Delete" in one and not one.startswith("ec2:")]
    secrets = [
        statement["Resource"]
        for name, statement in stack.statements()
        if name.startswith("RolesTraining")
        and "secretsmanager:GetSecretValue" in listed(statement["Action"])
    ]
    assert len(secrets) == 1
    assert "TrainingPassword" in json.dumps(secrets)


def test_services_are_trusted_for_this_account_alone(stack: Synthesised) -> None:
    for _, role in stack.of_type("AWS::IAM::Role"):
        for statement in role["Properties"]["AssumeRolePolicyDocument"]["Statement"]:
            if "Service" in statement["Principal"]:
                assert statement["Condition"] == {
                    "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
                }
            else:
                assert ":root" in json.dumps(statement["Principal"]["AWS"])
