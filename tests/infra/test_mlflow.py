"""The MLflow server in the templates: private, with passwords, on an isolated database."""

import json

from mlflow_server.server import UVICORN_OPTIONS
from tests.infra.conftest import StageTemplates


def test_mlflow_has_no_public_address(templates: StageTemplates) -> None:
    (load_balancer,) = templates.properties("AWS::ElasticLoadBalancingV2::LoadBalancer")
    (service,) = templates.properties("AWS::ECS::Service")
    (database,) = templates.properties("AWS::RDS::DBInstance")

    assert load_balancer["Scheme"] == "internal"
    network = service["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert network["AssignPublicIp"] == "DISABLED"
    assert database["PubliclyAccessible"] is False


def test_load_balancer_admits_training_jobs_and_the_bastion_only(
    templates: StageTemplates,
) -> None:
    rules = templates.security_group("Load balancer of MLflow")["SecurityGroupIngress"]

    port = 443 if templates.stage.certificate_arn else 80
    assert [rule["Description"] for rule in rules] == ["Training jobs", "Bastion"]
    assert all("SourceSecurityGroupId" in rule for rule in rules)
    assert {(rule["FromPort"], rule["ToPort"]) for rule in rules} == {(port, port)}


def test_certificate_enables_tls(templates: StageTemplates) -> None:
    (listener,) = templates.properties("AWS::ElasticLoadBalancingV2::Listener")

    if templates.stage.certificate_arn:
        assert listener["Protocol"] == "HTTPS"
        assert listener["Certificates"] == [{"CertificateArn": templates.stage.certificate_arn}]
        assert "TLS13" in listener["SslPolicy"]
    else:
        assert (listener["Protocol"], listener["Port"]) == ("HTTP", 80)


def test_passwords_are_generated(templates: StageTemplates) -> None:
    secrets = templates.properties("AWS::SecretsManager::Secret")
    assert len(secrets) == 4
    for secret in secrets:
        assert secret["GenerateSecretString"]["PasswordLength"] >= 32
        assert "SecretString" not in secret
        assert "KmsKeyId" in secret
    assert '"SecretString"' not in templates.text
    (database,) = templates.properties("AWS::RDS::DBInstance")
    assert "{{resolve:secretsmanager:" in json.dumps(database["MasterUserPassword"])


def test_task_receives_passwords_as_secrets(templates: StageTemplates) -> None:
    for container in templates.containers("-mlflow"):
        assert {secret["Name"] for secret in container["Secrets"]} == {
            "TRACKING_SERVER_DATABASE_PASSWORD",
            "TRACKING_SERVER_ADMIN_PASSWORD",
            "TRACKING_SERVER_TRAINING_PASSWORD",
            "TRACKING_SERVER_FLASK_SECRET",
        }
        assert not [
            variable for variable in container["Environment"] if "PASSWORD" in variable["Name"]
        ]


def test_task_is_not_root_and_writes_to_tmp_only(templates: StageTemplates) -> None:
    containers = templates.containers("-mlflow")
    assert [container["Name"] for container in containers] == ["migrate", "serve"]
    for container in containers:
        assert container["User"] == "mlflow"
        assert container["ReadonlyRootFilesystem"] is True
        assert [mount["ContainerPath"] for mount in container["MountPoints"]] == ["/tmp"]  # noqa: S108


def test_database_is_migrated_before_the_server_starts(templates: StageTemplates) -> None:
    migrate, serve = templates.containers("-mlflow")

    assert (migrate["Command"], migrate["Essential"]) == (["migrate"], False)
    assert serve["DependsOn"] == [{"Condition": "SUCCESS", "ContainerName": "migrate"}]


def test_server_allows_its_own_host_names_only(templates: StageTemplates) -> None:
    for container in templates.containers("-mlflow"):
        (hosts,) = [
            variable["Value"]
            for variable in container["Environment"]
            if variable["Name"] == "TRACKING_SERVER_ALLOWED_HOSTS"
        ]
        text = json.dumps(hosts)
        assert "127.0.0.1:*" in text
        assert "*." not in text
        assert (templates.stage.mlflow_domain or "DNSName") in text
    # MLflow compares host names case-sensitively, and clients send them in lower case.
    (load_balancer,) = templates.properties("AWS::ElasticLoadBalancingV2::LoadBalancer")
    assert load_balancer["Name"] == load_balancer["Name"].lower()
    assert len(load_balancer["Name"]) <= 32


def test_database_is_encrypted_backed_up_and_protected_in_production(
    templates: StageTemplates,
) -> None:
    ((_, database),) = templates.resources("AWS::RDS::DBInstance")
    properties, production = database["Properties"], templates.stage.production

    assert properties["StorageEncrypted"] is True
    assert "KmsKeyId" in properties
    assert properties["BackupRetentionPeriod"] == templates.stage.backup_retention_days >= 1
    assert properties["DeletionProtection"] is production
    assert properties["MultiAZ"] is production
    assert database["DeletionPolicy"] == ("Snapshot" if production else "Delete")
    (parameters,) = templates.properties("AWS::RDS::DBParameterGroup")
    assert parameters["Parameters"] == {"rds.force_ssl": "1"}


def test_database_is_isolated(templates: StageTemplates) -> None:
    (subnets,) = templates.properties("AWS::RDS::DBSubnetGroup")
    assert all("IsolatedSubnet" in json.dumps(subnet) for subnet in subnets["SubnetIds"])
    rules = templates.security_group("Database")["SecurityGroupIngress"]
    assert [rule["Description"] for rule in rules] == ["Tasks of MLflow"]


def test_failed_deployment_is_rolled_back(templates: StageTemplates) -> None:
    (service,) = templates.properties("AWS::ECS::Service")

    assert service["DeploymentConfiguration"]["DeploymentCircuitBreaker"] == {
        "Enable": True,
        "Rollback": True,
    }


def test_no_task_runs_without_an_image_and_production_runs_two(templates: StageTemplates) -> None:
    (service,) = templates.properties("AWS::ECS::Service")
    (target,) = templates.properties("AWS::ApplicationAutoScaling::ScalableTarget")

    condition, count, without_image = service["DesiredCount"]["Fn::If"]
    assert without_image == 0
    assert count == templates.stage.mlflow_tasks
    assert count >= (2 if templates.stage.production else 1)
    assert target["MinCapacity"] == {"Fn::If": [condition, count, 0]}


def test_bastion_is_idle_and_has_no_secrets(templates: StageTemplates) -> None:
    (container,) = templates.containers("-bastion")

    assert container["Command"][0] == "idle"
    assert container["User"] == "mlflow"
    assert not container.get("Secrets")
    assert not container.get("Environment")


def test_load_balancer_closes_idle_connections_before_the_server(
    templates: StageTemplates,
) -> None:
    """Otherwise it would send requests into connections that the server is closing."""
    (load_balancer,) = templates.properties("AWS::ElasticLoadBalancingV2::LoadBalancer")
    attributes = {
        attribute["Key"]: attribute["Value"]
        for attribute in load_balancer["LoadBalancerAttributes"]
    }

    options = " ".join(UVICORN_OPTIONS).split()
    keep_alive = int(options[options.index("--timeout-keep-alive") + 1])
    assert int(attributes["idle_timeout.timeout_seconds"]) < keep_alive


def test_service_is_deleted_before_its_capacity_providers(templates: StageTemplates) -> None:
    resource_type = "AWS::ECS::ClusterCapacityProviderAssociations"
    ((_, service),) = templates.resources("AWS::ECS::Service")
    ((capacity_providers, _),) = templates.resources(resource_type)

    assert capacity_providers in service["DependsOn"]
