"""The security properties that a template can show, each asked over all settings that matter."""

import json
from typing import Any

from contract.names import EndpointAlarm, Image, alarm_name
from tests.infra.conftest import Synthesised
from tracking.server import OPTIONS

ANYWHERE = {"0.0.0.0/0", "::/0"}


def _statements(stack: Synthesised) -> list[tuple[str, dict[str, Any]]]:
    """Every statement of every role, with the role's name."""
    return [
        (name, statement)
        for name, role in stack.of_type("AWS::IAM::Role")
        for policy in role["Properties"].get("Policies", [])
        for statement in policy["PolicyDocument"]["Statement"]
    ]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


# --- Tracking -------------------------------------------------------------------------------------


def test_the_tracking_server_has_no_public_address(stack: Synthesised) -> None:
    (balancer,) = stack.properties("AWS::ElasticLoadBalancingV2::LoadBalancer")
    (service,) = stack.properties("AWS::ECS::Service")
    (database,) = stack.properties("AWS::RDS::DBInstance")

    assert balancer["Scheme"] == "internal"
    network = service["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert network["AssignPublicIp"] == "DISABLED"
    assert database["PubliclyAccessible"] is False


def test_nobody_is_admitted_from_anywhere(stack: Synthesised) -> None:
    rules = [
        rule
        for group in stack.properties("AWS::EC2::SecurityGroup")
        for rule in group.get("SecurityGroupIngress", [])
    ]
    rules += [
        resource["Properties"] for _, resource in stack.of_type("AWS::EC2::SecurityGroupIngress")
    ]

    assert rules
    assert not [rule for rule in rules if rule.get("CidrIp") in ANYWHERE or "CidrIpv6" in rule]


def test_the_load_balancer_admits_trainings_and_forwarded_ports_alone(stack: Synthesised) -> None:
    (front,) = [
        group
        for group in stack.properties("AWS::EC2::SecurityGroup")
        if group["GroupDescription"].startswith("Load balancer of MLflow")
    ]

    port = 443 if stack.stage.certificate else 80
    rules = front["SecurityGroupIngress"]
    assert [rule["Description"] for rule in rules] == ["Training jobs", "Forwarded ports"]
    assert all("SourceSecurityGroupId" in rule for rule in rules)
    assert {(rule["FromPort"], rule["ToPort"]) for rule in rules} == {(port, port)}


def test_a_certificate_makes_it_tls(stack: Synthesised) -> None:
    (listener,) = stack.properties("AWS::ElasticLoadBalancingV2::Listener")

    if stack.stage.certificate:
        assert listener["Protocol"] == "HTTPS"
        assert listener["Certificates"] == [{"CertificateArn": stack.stage.certificate}]
        assert "TLS13" in listener["SslPolicy"]
    else:
        assert (listener["Protocol"], listener["Port"]) == ("HTTP", 80)


def test_passwords_are_generated_and_reach_the_task_as_secrets(stack: Synthesised) -> None:
    secrets = stack.properties("AWS::SecretsManager::Secret")
    assert len(secrets) == 4
    for secret in secrets:
        assert secret["GenerateSecretString"]["PasswordLength"] >= 32
        assert "SecretString" not in secret
        assert "KmsKeyId" in secret
    for container in _containers(stack, "-tracking"):
        assert {one["Name"] for one in container["Secrets"]} == {
            "TRACKING_DATABASE_PASSWORD",
            "TRACKING_ADMIN_PASSWORD",
            "TRACKING_TRAINING_PASSWORD",
            "TRACKING_FLASK_SECRET",
        }
        assert not [one for one in container["Environment"] if "PASSWORD" in one["Name"]]
    assert '"SecretString"' not in stack.text
    (database,) = stack.properties("AWS::RDS::DBInstance")
    assert "{{resolve:secretsmanager:" in json.dumps(database["MasterUserPassword"])


def _containers(stack: Synthesised, suffix: str) -> list[dict[str, Any]]:
    return [
        container
        for task in stack.properties("AWS::ECS::TaskDefinition")
        if task["Family"].endswith(suffix)
        for container in task["ContainerDefinitions"]
    ]


def test_the_tracking_task_is_not_root_and_writes_to_tmp_alone(stack: Synthesised) -> None:
    containers = _containers(stack, "-tracking")
    assert [container["Name"] for container in containers] == ["prepare", "serve"]
    for container in containers:
        assert container["User"] == "mlflow"
        assert container["ReadonlyRootFilesystem"] is True
        assert [one["ContainerPath"] for one in container["MountPoints"]] == ["/tmp"]  # noqa: S108


def test_the_schema_is_migrated_before_the_server_starts(stack: Synthesised) -> None:
    prepare, serve = _containers(stack, "-tracking")

    assert (prepare["Command"], prepare["Essential"]) == (["prepare"], False)
    assert serve["DependsOn"] == [{"Condition": "SUCCESS", "ContainerName": "prepare"}]


def test_the_server_is_asked_under_its_own_names_alone(stack: Synthesised) -> None:
    for container in _containers(stack, "-tracking"):
        (hosts,) = [
            one["Value"]
            for one in container["Environment"]
            if one["Name"] == "TRACKING_ALLOWED_HOSTS"
        ]
        text = json.dumps(hosts)
        assert "127.0.0.1:*" in text
        assert "*." not in text
        assert (stack.stage.tracking_domain or "DNSName") in text
    # MLflow compares names to the letter, and clients write them in small ones.
    (balancer,) = stack.properties("AWS::ElasticLoadBalancingV2::LoadBalancer")
    assert balancer["Name"] == balancer["Name"].lower()
    assert len(balancer["Name"]) <= 32


def test_the_database_is_isolated_encrypted_and_backed_up(stack: Synthesised) -> None:
    (database,) = stack.of_type("AWS::RDS::DBInstance")
    properties, production = database[1]["Properties"], stack.stage.production

    assert properties["StorageEncrypted"] is True
    assert "KmsKeyId" in properties
    assert properties["BackupRetentionPeriod"] == stack.stage.backup_days >= 1
    assert properties["DeletionProtection"] is production
    assert properties["MultiAZ"] is production
    assert database[1]["DeletionPolicy"] == ("Snapshot" if production else "Delete")
    (parameters,) = stack.properties("AWS::RDS::DBParameterGroup")
    assert parameters["Parameters"] == {"rds.force_ssl": "1"}
    (subnets,) = stack.properties("AWS::RDS::DBSubnetGroup")
    assert "isolated" in json.dumps(subnets["SubnetIds"])
    (admitted,) = [
        group
        for group in stack.properties("AWS::EC2::SecurityGroup")
        if group["GroupDescription"].startswith("Database")
    ]
    assert [rule["Description"] for rule in admitted["SecurityGroupIngress"]] == ["Tasks of MLflow"]


def test_a_failed_roll_out_goes_back_and_production_has_two_tasks(stack: Synthesised) -> None:
    (service,) = stack.properties("AWS::ECS::Service")
    (target,) = stack.properties("AWS::ApplicationAutoScaling::ScalableTarget")

    assert service["DeploymentConfiguration"]["DeploymentCircuitBreaker"] == {
        "Enable": True,
        "Rollback": True,
    }
    condition, count, before = service["DesiredCount"]["Fn::If"]
    assert before == 0  # until there is an image
    assert count == stack.stage.tracking_tasks
    assert count >= (2 if stack.stage.production else 1)
    assert target["MinCapacity"] == {"Fn::If": [condition, count, 0]}


# --- Data and rights ------------------------------------------------------------------------------


def test_buckets_are_private_encrypted_versioned_and_kept_in_production(
    stack: Synthesised,
) -> None:
    buckets = list(stack.of_type("AWS::S3::Bucket"))
    assert len(buckets) == 2
    for _, bucket in buckets:
        properties = bucket["Properties"]
        assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
        assert len(properties["PublicAccessBlockConfiguration"]) == 4
        assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
        assert properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert properties["LifecycleConfiguration"]["Rules"]
        kept = "Retain" if stack.stage.production else "Delete"
        assert bucket["DeletionPolicy"] == bucket["UpdateReplacePolicy"] == kept
    policies = stack.properties("AWS::S3::BucketPolicy")
    assert len(policies) == 2
    for policy in policies:
        denied = [
            one
            for one in policy["PolicyDocument"]["Statement"]
            if one["Effect"] == "Deny" and one["Principal"] == {"AWS": "*"}
        ]
        assert {"Bool": {"aws:SecureTransport": "false"}} in [one["Condition"] for one in denied]


def test_releases_and_runs_never_expire(stack: Synthesised) -> None:
    rules = {
        rule.get("Prefix", ""): rule
        for bucket in stack.properties("AWS::S3::Bucket")
        for rule in bucket["LifecycleConfiguration"]["Rules"]
        if "releases" in json.dumps(bucket["LifecycleConfiguration"])
    }

    assert set(rules) == {"", "data/", "releases/", "checkpoints/", "captured/", "runs/"}
    for prefix in ("", "data/", "releases/", "runs/"):
        assert "ExpirationInDays" not in rules[prefix]
    assert "NoncurrentVersionExpiration" not in rules["releases/"]
    assert rules["checkpoints/"]["ExpirationInDays"] == stack.stage.checkpoint_days
    assert rules["captured/"]["ExpirationInDays"] == stack.stage.captured_days


def test_keys_are_rotated(stack: Synthesised) -> None:
    keys = stack.properties("AWS::KMS::Key")
    assert len(keys) == 2
    assert all(key["EnableKeyRotation"] is True for key in keys)


def test_repositories_are_immutable_scanned_and_keep_what_was_released(
    stack: Synthesised,
) -> None:
    repositories = stack.properties("AWS::ECR::Repository")
    assert len(repositories) == len(Image)
    for repository in repositories:
        assert repository["ImageTagMutability"] == "IMMUTABLE"
        assert repository["ImageScanningConfiguration"] == {"ScanOnPush": True}
        first, *others = json.loads(repository["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
        assert first["rulePriority"] == 1
        assert first["selection"]["tagPrefixList"] == ["release-"]
        assert first["selection"]["countNumber"] == 9999  # which no repository reaches
        assert [rule["rulePriority"] for rule in others] == [2, 3]


def test_no_role_has_more_than_it_says(stack: Synthesised) -> None:
    for name, role in stack.of_type("AWS::IAM::Role"):
        assert not role["Properties"].get("ManagedPolicyArns"), name
    assert not list(stack.of_type("AWS::IAM::Policy"))  # none is added beside a role
    assert not list(stack.of_type("AWS::IAM::ManagedPolicy"))
    for name, statement in _statements(stack):
        assert statement["Effect"] == "Allow"
        assert statement["Sid"], name
        for action in _listed(statement["Action"]):
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
    for name, statement in _statements(stack):
        if "*" in _listed(statement["Resource"]):
            assert set(_listed(statement["Action"])) <= unnamed, (name, statement)
            if "cloudwatch:PutMetricData" in _listed(statement["Action"]):
                assert "cloudwatch:namespace" in statement["Condition"]["StringEquals"]


def test_a_role_is_passed_to_one_service_alone(stack: Synthesised) -> None:
    passed = [
        (name, statement)
        for name, statement in _statements(stack)
        if "iam:PassRole" in _listed(statement["Action"])
    ]
    services = {"RolesDeploying": "sagemaker", "MlflowForwardingViewing": "ecs-tasks"}
    assert sorted(name[:-8] for name, _ in passed) == [
        *("MlflowForwardingViewing", "RolesDeploying", "RolesDeploying"),
    ]
    for name, statement in passed:
        for resource in _listed(statement["Resource"]):
            assert "Fn::GetAtt" in resource  # a role, by its name
        assert statement["Condition"] == {
            "StringEquals": {"iam:PassedToService": f"{services[name[:-8]]}.amazonaws.com"}
        }


def test_who_views_forwards_ports_and_opens_no_shell(stack: Synthesised) -> None:
    viewing = [one for name, one in _statements(stack) if "Viewing" in name]
    (forwards,) = [one for one in viewing if "ssm:StartSession" in _listed(one["Action"])]
    (starts,) = [one for one in viewing if "ecs:RunTask" in _listed(one["Action"])]

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
        for action in _listed(one["Action"])
        if action.startswith(("secretsmanager:", "s3:", "kms:", "sagemaker:"))
    ]
    # Sessions get names by their beginner's, and are tagged with who that is.
    (ends,) = [one for one in viewing if "ssm:TerminateSession" in _listed(one["Action"])]
    assert ends["Condition"]["StringEquals"] == {
        "ssm:resourceTag/aws:ssmmessages:session-id": "${aws:userid}"
    }
    # Session Manager gets into no task that doesn't let it in, as the server's don't.
    (service,) = stack.properties("AWS::ECS::Service")
    assert not service.get("EnableExecuteCommand")


def test_the_forwarding_task_knows_no_password(stack: Synthesised) -> None:
    (container,) = _containers(stack, "-forward")

    assert container["Command"][0] == "forward"
    assert container["User"] == "mlflow"
    assert not container.get("Secrets")
    assert not container.get("Environment")


def _actions(stack: Synthesised, role: str) -> set[str]:
    return {
        action
        for name, statement in _statements(stack)
        if name.startswith(f"Roles{role}")
        for action in _listed(statement["Action"])
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
        for name, statement in _statements(stack)
        if name.startswith("RolesServing") and "s3:PutObject" in _listed(statement["Action"])
    ]
    assert len(written) == 1
    assert "/captured/*" in written[0]


def test_who_invokes_may_do_that_alone(stack: Synthesised) -> None:
    (statement,) = [one for name, one in _statements(stack) if name.startswith("RolesInvoking")]

    assert statement["Action"] == "sagemaker:InvokeEndpoint"
    assert f"endpoint/{stack.stage.endpoint}" in json.dumps(statement["Resource"])


def test_training_deletes_nothing_and_reads_one_password(stack: Synthesised) -> None:
    actions = _actions(stack, "Training")

    assert not [one for one in actions if "Delete" in one and not one.startswith("ec2:")]
    secrets = [
        statement["Resource"]
        for name, statement in _statements(stack)
        if name.startswith("RolesTraining")
        and "secretsmanager:GetSecretValue" in _listed(statement["Action"])
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


# --- The whole ------------------------------------------------------------------------------------


def test_egress_is_what_the_setting_says(stack: Synthesised) -> None:
    gateways = list(stack.of_type("AWS::EC2::NatGateway"))
    internet = list(stack.of_type("AWS::EC2::InternetGateway"))
    endpoints = stack.properties("AWS::EC2::VPCEndpoint")
    interfaces = [one for one in endpoints if one["VpcEndpointType"] == "Interface"]
    public = [one for one in stack.properties("AWS::EC2::Subnet") if one.get("MapPublicIpOnLaunch")]

    assert len(endpoints) - len(interfaces) == 1  # S3's
    assert not public
    if stack.stage.egress == "nat":
        assert (len(gateways), len(internet)) == (stack.stage.egress_zones, 1)
        assert not interfaces
    else:
        assert not gateways
        assert not internet
        assert all(len(one["SubnetIds"]) == stack.stage.egress_zones for one in interfaces)


def test_traffic_is_logged(stack: Synthesised) -> None:
    (flow,) = stack.properties("AWS::EC2::FlowLog")
    (balancer,) = stack.properties("AWS::ElasticLoadBalancingV2::LoadBalancer")

    assert (flow["ResourceType"], flow["TrafficType"]) == ("VPC", "ALL")
    attributes = {one["Key"]: one["Value"] for one in balancer["LoadBalancerAttributes"]}
    assert attributes["access_logs.s3.enabled"] == "true"
    assert attributes["deletion_protection.enabled"] == str(stack.stage.production).lower()


def test_logs_are_written_by_aws_services_alone(stack: Synthesised) -> None:
    (policy,) = [
        one
        for one in stack.properties("AWS::S3::BucketPolicy")
        if "StorageLogs" in json.dumps(one["Bucket"])
    ]
    writers = {
        statement["Principal"].get("Service") or json.dumps(statement["Principal"]["AWS"])
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow" and "s3:PutObject" in _listed(statement["Action"])
    }

    # S3's own, the network's, and the load balancers' of the region, which are an account of AWS's.
    assert {"logging.s3.amazonaws.com", "delivery.logs.amazonaws.com"} <= writers
    assert len(writers) <= 3
    assert not [one for one in writers if "*" in one]


def test_logs_are_kept_for_a_stated_time(stack: Synthesised) -> None:
    groups = stack.properties("AWS::Logs::LogGroup")
    assert {group["RetentionInDays"] for group in groups} == {stack.stage.log_days}


def test_there_is_no_lambda(stack: Synthesised) -> None:
    kinds = {
        resource["Type"]
        for part in ("base", "tracking", "monitoring")
        for resource in json.loads(
            (stack.folder / f"{stack.stage.prefix}-{part}.template.json").read_text()
        )["Resources"].values()
    }
    assert not [kind for kind in kinds if kind.startswith(("Custom::", "AWS::Lambda"))]
    assert "AWS::CloudFormation::CustomResource" not in kinds


def test_three_alarms_may_turn_a_deployment_back_and_an_idle_endpoint_trips_none(
    stack: Synthesised,
) -> None:
    alarms = {
        one["AlarmName"]: one
        for one in stack.properties("AWS::CloudWatch::Alarm")
        if "AlarmName" in one
    }

    assert alarms.keys() == {alarm_name(stack.stage, one) for one in EndpointAlarm}
    for alarm in alarms.values():
        assert alarm["TreatMissingData"] == "notBreaching"


def test_what_goes_wrong_is_told(stack: Synthesised) -> None:
    alarms = {one["AlarmDescription"]: one for one in stack.properties("AWS::CloudWatch::Alarm")}
    # Another mail tells of it, with its reason.
    failed = alarms.pop("A training job has failed.")
    assert "AlarmActions" not in failed
    (rule,) = stack.properties("AWS::Events::Rule")
    assert rule["EventPattern"]["detail"]["TrainingJobStatus"] == ["Failed"]
    assert rule["Targets"][0]["Arn"]
    # No task that answers is no data, and trips it, once there is an image to run.
    gone = alarms.pop("No task of MLflow answers.")
    assert gone["TreatMissingData"] == "breaching"
    assert gone["ActionsEnabled"]["Fn::If"][1:] == [True, False]

    assert len(alarms) == 13
    for alarm in alarms.values():
        assert alarm["TreatMissingData"] == "notBreaching"
    for alarm in (*alarms.values(), gone):
        assert alarm["AlarmActions"] == alarm["OKActions"]
        assert alarm["AlarmActions"]


def test_one_dashboard_shows_every_alarm(stack: Synthesised) -> None:
    (board,) = stack.properties("AWS::CloudWatch::Dashboard")

    text = json.dumps(board["DashboardBody"])
    for name, _ in stack.of_type("AWS::CloudWatch::Alarm"):
        assert name in text


def test_notices_are_encrypted_and_only_this_account_may_send_them(stack: Synthesised) -> None:
    (topic,) = stack.properties("AWS::SNS::Topic")
    (policy,) = stack.properties("AWS::SNS::TopicPolicy")
    account = {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}

    assert "KmsMasterKeyId" in topic
    allowed = [one for one in policy["PolicyDocument"]["Statement"] if one["Effect"] == "Allow"]
    services = {one["Principal"]["Service"] for one in allowed}
    assert services == {"cloudwatch.amazonaws.com", "budgets.amazonaws.com"}
    assert all(one["Condition"] == account for one in allowed)
    # EventBridge knows no such condition there: it sends as a role of this account.
    (rule,) = stack.properties("AWS::Events::Rule")
    assert "FailedTrainingsTelling" in json.dumps(rule["Targets"][0]["RoleArn"])
    (told, encrypted) = [one for name, one in _statements(stack) if "FailedTrainings" in name]
    assert told["Action"] == "sns:Publish"
    assert set(encrypted["Action"]) == {"kms:Decrypt", "kms:GenerateDataKey*"}


def test_what_closes_last_is_in_front(stack: Synthesised) -> None:
    """Or a load balancer sends requests into connections that the server is closing."""
    (balancer,) = stack.properties("AWS::ElasticLoadBalancingV2::LoadBalancer")
    attributes = {one["Key"]: one["Value"] for one in balancer["LoadBalancerAttributes"]}

    (waits,) = [one.split()[1] for one in OPTIONS if one.startswith("--timeout-keep-alive")]
    assert int(attributes["idle_timeout.timeout_seconds"]) < int(waits)


def test_the_service_goes_before_what_it_runs_on(stack: Synthesised) -> None:
    kind = "AWS::ECS::ClusterCapacityProviderAssociations"
    (service,) = [one for _, one in stack.of_type("AWS::ECS::Service")]
    (providers,) = [name for name, _ in stack.of_type(kind)]

    assert providers in service["DependsOn"]


def test_a_full_instance_is_told_by_all_its_processors(stack: Synthesised) -> None:
    (alarm,) = [
        one
        for one in stack.properties("AWS::CloudWatch::Alarm")
        if one["AlarmDescription"].endswith("% of its CPU.")
    ]

    (expression,) = [one["Expression"] for one in alarm["Metrics"] if "Expression" in one]
    assert expression == "sum / 2"  # both stages' instances have two


def test_a_forecast_beyond_the_budget_is_told(stack: Synthesised) -> None:
    (budget,) = stack.properties("AWS::Budgets::Budget")

    assert budget["Budget"]["BudgetLimit"] == {"Amount": stack.stage.budget_usd, "Unit": "USD"}
    kinds = {
        one["Notification"]["NotificationType"] for one in budget["NotificationsWithSubscribers"]
    }
    assert kinds == {"ACTUAL", "FORECASTED"}


def test_every_resource_that_can_be_tagged_names_its_stage(stack: Synthesised) -> None:
    for kind in ("AWS::S3::Bucket", "AWS::RDS::DBInstance", "AWS::ECS::Service", "AWS::KMS::Key"):
        for properties in stack.properties(kind):
            tags = {one["Key"]: one["Value"] for one in properties["Tags"]}
            assert tags["stack"] == stack.stage.prefix
            assert tags["stage"] == stack.stage.name
