"""What a template shows of the tracking host: private, with passwords, on an isolated database."""

import json

from mlflow_server.server import OPTIONS
from tests.infra.conftest import Synthesised


def test_the_tracking_server_has_no_public_address(stack: Synthesised) -> None:
    (balancer,) = stack.properties("AWS::ElasticLoadBalancingV2::LoadBalancer")
    (service,) = stack.properties("AWS::ECS::Service")
    (database,) = stack.properties("AWS::RDS::DBInstance")

    assert balancer["Scheme"] == "internal"
    network = service["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert network["AssignPublicIp"] == "DISABLED"
    assert database["PubliclyAccessible"] is False


def test_the_load_balancer_admits_trainings_and_forwarded_ports_alone(stack: Synthesised) -> None:
    (front,) = [
        group
        for group in stack.properties("AWS::EC2::SecurityGroup")
        if group["GroupDescription"].startswith("Load balancer of MLflow")
    ]

    port = 443 if stack.stage.certificate_arn else 80
    rules = front["SecurityGroupIngress"]
    assert [rule["Description"] for rule in rules] == ["Training jobs", "Forwarded ports"]
    assert all("SourceSecurityGroupId" in rule for rule in rules)
    assert {(rule["FromPort"], rule["ToPort"]) for rule in rules} == {(port, port)}


def test_a_certificate_makes_it_tls(stack: Synthesised) -> None:
    (listener,) = stack.properties("AWS::ElasticLoadBalancingV2::Listener")

    if stack.stage.certificate_arn:
        assert listener["Protocol"] == "HTTPS"
        assert listener["Certificates"] == [{"CertificateArn": stack.stage.certificate_arn}]
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
    for container in stack.containers("-mlflow"):
        assert {one["Name"] for one in container["Secrets"]} == {
            "TRACKING_SERVER_DATABASE_PASSWORD",
            "TRACKING_SERVER_ADMIN_PASSWORD",
            "TRACKING_SERVER_TRAINING_PASSWORD",
            "TRACKING_SERVER_FLASK_SECRET",
        }
        assert not [one for one in container["Environment"] if "PASSWORD" in one["Name"]]
    assert '"SecretString"' not in stack.text
    (database,) = stack.properties("AWS::RDS::DBInstance")
    assert "{{resolve:secretsmanager:" in json.dumps(database["MasterUserPassword"])


def test_the_tracking_task_is_not_root_and_writes_to_tmp_alone(stack: Synthesised) -> None:
    containers = stack.containers("-mlflow")
    assert [container["Name"] for container in containers] == ["migrate", "serve"]
    for container in containers:
        assert container["User"] == "mlflow"
        assert container["ReadonlyRootFilesystem"] is True
        assert [one["ContainerPath"] for one in container["MountPoints"]] == ["/tmp"]  # noqa: S108


def test_the_schema_is_migrated_before_the_server_starts(stack: Synthesised) -> None:
    migrate, serve = stack.containers("-mlflow")

    assert (migrate["Command"], migrate["Essential"]) == (["migrate"], False)
    assert serve["DependsOn"] == [{"Condition": "SUCCESS", "ContainerName": "migrate"}]


def test_the_server_is_asked_under_its_own_names_alone(stack: Synthesised) -> None:
    for container in stack.containers("-mlflow"):
        (hosts,) = [
            one["Value"]
            for one in container["Environment"]
            if one["Name"] == "TRACKING_SERVER_ALLOWED_HOSTS"
        ]
        text = json.dumps(hosts)
        assert "127.0.0.1:*" in text
        assert "*." not in text
        assert (stack.stage.mlflow_domain or "DNSName") in text
    # MLflow compares names to the letter, and clients write them in small ones.
    (balancer,) = stack.properties("AWS::ElasticLoadBalancingV2::LoadBalancer")
    assert balancer["Name"] == balancer["Name"].lower()
    assert len(balancer["Name"]) <= 32


def test_the_database_is_isolated_encrypted_and_backed_up(stack: Synthesised) -> None:
    (database,) = stack.of_type("AWS::RDS::DBInstance")
    properties, production = database[1]["Properties"], stack.stage.production

    assert properties["StorageEncrypted"] is True
    assert "KmsKeyId" in properties
    assert properties["BackupRetentionPeriod"] == stack.stage.backup_retention_days >= 1
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
    assert count == stack.stage.mlflow_tasks
    assert count >= (2 if stack.stage.production else 1)
    assert target["MinCapacity"] == {"Fn::If": [condition, count, 0]}


def test_the_forwarding_task_knows_no_password(stack: Synthesised) -> None:
    (container,) = stack.containers("-forward")

    assert container["Command"][0] == "forward"
    assert container["User"] == "mlflow"
    assert not container.get("Secrets")
    assert not container.get("Environment")


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
