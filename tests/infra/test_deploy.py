"""The real CDK CLI on an emulated account: bootstrap, deploy, change and destroy two stages.

The tests are consecutive steps and depend on their order.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from aws.account import AwsAccount
from contract.names import (
    BASTION_STARTED_BY,
    REPOSITORY_OUTPUTS,
    EndpointAlarm,
    Image,
    StackName,
    StackOutput,
    alarm_name,
    image_digest_parameter,
    stack_name,
)
from tests.emulator.account import ACCOUNT, Account, emulated_account
from tests.infra.commands import cdk, make, try_make
from tests.infra.conftest import stage_with

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
DEV, PROD = stage_with("dev", {}), stage_with("prod", {})
DIGEST = "sha256:" + "ab" * 32
Outputs = dict[StackOutput, str]


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with emulated_account(tmp_path_factory.mktemp("account")) as account:
        yield account


@pytest.fixture
def credentials(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulated account's credentials in the environment, as the commands expect them."""
    for name, value in account.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def base_outputs(credentials: None) -> Outputs:
    return AwsAccount(DEV).outputs(StackName.BASE)


@pytest.fixture
def mlflow_outputs(credentials: None) -> Outputs:
    return AwsAccount(DEV).outputs(StackName.MLFLOW)


def _describe_service(account: Account, mlflow_outputs: Outputs) -> dict[str, Any]:
    response = account.client("ecs").describe_services(
        cluster=mlflow_outputs[StackOutput.MLFLOW_CLUSTER],
        services=[mlflow_outputs[StackOutput.MLFLOW_SERVICE]],
    )
    return dict(response["services"][0])


def _bucket_names(account: Account) -> list[str]:
    return [bucket["Name"] for bucket in account.client("s3").list_buckets()["Buckets"]]


def _deployed_stacks(account: Account) -> set[str]:
    stacks = account.client("cloudformation").describe_stacks()["Stacks"]
    return {stack["StackName"] for stack in stacks}


def test_missing_bootstrap_is_reported(account: Account) -> None:
    process = try_make(account, "deploy", "ARGS=--yes --no-images")

    assert process.returncode == 2
    assert "Has the environment been bootstrapped?" in process.stdout + process.stderr
    assert "Traceback" not in process.stderr


def test_account_is_bootstrapped(account: Account) -> None:
    assert "bootstrapped" in make(account, "bootstrap")
    # ECS needs its service-linked role before the first cluster exists.
    path = "/aws-service-role/ecs.amazonaws.com/"
    assert account.client("iam").list_roles(PathPrefix=path)["Roles"]
    # A second bootstrap succeeds.
    assert "bootstrapped" in make(account, "bootstrap")


def test_nothing_is_deployed_without_confirmation(account: Account) -> None:
    process = try_make(account, "deploy", "ARGS=--no-images")

    assert process.returncode == 2
    assert "USD per month" in process.stderr
    assert process.stderr.splitlines()[-2] == "error: the prompt was not answered"
    stacks = account.client("cloudformation").list_stacks()["StackSummaries"]
    assert [stack["StackName"] for stack in stacks] == ["CDKToolkit"]


def test_dev_is_deployed(account: Account) -> None:
    output = make(account, "deploy", "ARGS=--yes --no-images")

    assert f"Deployed   {', '.join(stack_name(DEV, name) for name in StackName)}" in output
    assert "Artifacts  s3://" in output


def test_artifact_bucket_is_private_and_encrypted(account: Account, base_outputs: Outputs) -> None:
    name, key = base_outputs[StackOutput.ARTIFACT_BUCKET], base_outputs[StackOutput.DATA_KEY]
    s3 = account.client("s3")

    (rule,) = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"] == {
        "SSEAlgorithm": "aws:kms",
        "KMSMasterKeyID": key,
    }
    block = s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"]
    assert set(block.values()) == {True}
    assert s3.get_bucket_versioning(Bucket=name)["Status"] == "Enabled"
    assert "aws:SecureTransport" in s3.get_bucket_policy(Bucket=name)["Policy"]
    assert account.client("kms").get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is True


def test_invoking_role_has_its_permissions(account: Account, base_outputs: Outputs) -> None:
    iam = account.client("iam")
    role = base_outputs[StackOutput.INVOKING_ROLE].rpartition("/")[2]

    assert iam.list_role_policies(RoleName=role)["PolicyNames"] == ["permissions"]
    policy = iam.get_role_policy(RoleName=role, PolicyName="permissions")["PolicyDocument"]
    (statement,) = policy["Statement"]
    assert statement["Action"] == "sagemaker:InvokeEndpoint"
    assert statement["Resource"] == (
        f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:endpoint/{DEV.endpoint}"
    )
    assert not iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]


def test_repositories_are_immutable_and_scanned(account: Account, base_outputs: Outputs) -> None:
    names = [base_outputs[output].partition("/")[2] for output in REPOSITORY_OUTPUTS.values()]
    response = account.client("ecr").describe_repositories(repositoryNames=names)

    assert len(response["repositories"]) == len(Image)
    for repository in response["repositories"]:
        assert repository["imageTagMutability"] == "IMMUTABLE"
        assert repository["imageScanningConfiguration"] == {"scanOnPush": True}


def test_service_runs_no_task_before_an_image_is_pushed(
    account: Account, mlflow_outputs: Outputs
) -> None:
    assert _describe_service(account, mlflow_outputs)["desiredCount"] == 0


def test_rollback_alarms_exist_before_the_endpoint(account: Account) -> None:
    found = account.client("cloudwatch").describe_alarms(
        AlarmNames=[alarm_name(DEV, alarm) for alarm in EndpointAlarm]
    )
    assert len(found["MetricAlarms"]) == 3


def test_unchanged_stacks_are_not_deployed_again(account: Account) -> None:
    output = cdk(account, "deploy", "--all", "--require-approval", "never", "--method", "direct")

    # The MLflow stack reads the parameter of its image's digest each time; its value is unchanged.
    assert output.count("(no changes)") >= 2


def test_cdk_cli_deploys_the_image_that_was_pushed_last(
    account: Account, base_outputs: Outputs, mlflow_outputs: Outputs
) -> None:
    account.client("ssm").put_parameter(
        Name=image_digest_parameter(DEV, Image.MLFLOW), Value=DIGEST, Type="String", Overwrite=True
    )

    cdk(account, "deploy", "--all", "--require-approval", "never", "--method", "direct")

    service = _describe_service(account, mlflow_outputs)
    assert service["desiredCount"] == DEV.mlflow_tasks
    task = account.client("ecs").describe_task_definition(taskDefinition=service["taskDefinition"])
    images = {container["image"] for container in task["taskDefinition"]["containerDefinitions"]}
    assert images == {f"{base_outputs[StackOutput.MLFLOW_REPOSITORY]}@{DIGEST}"}


def test_change_is_in_the_diff_and_deployed(account: Account) -> None:
    changed = {"STACK_INFRA__LATENCY_ALARM_MS": "300"}
    assert "300000" in make(account, "diff", **changed)

    make(account, "deploy", "ARGS=--yes --no-images", **changed)

    (alarm,) = account.client("cloudwatch").describe_alarms(
        AlarmNames=[alarm_name(DEV, EndpointAlarm.LATENCY)]
    )["MetricAlarms"]
    assert alarm["Threshold"] == 300_000


def test_credentials_of_another_account_are_rejected(account: Account) -> None:
    process = try_make(account, "deploy", "ARGS=--yes", STACK_INFRA__ACCOUNT="999999999999")

    assert process.returncode == 2
    assert f"error: the credentials are of account {ACCOUNT}" in process.stderr


def test_production_is_deployed_beside_dev(account: Account, base_outputs: Outputs) -> None:
    make(account, "deploy", "STAGE=prod", "ARGS=--yes --no-images")

    production = AwsAccount(PROD).outputs(StackName.BASE)
    bucket = StackOutput.ARTIFACT_BUCKET
    assert production[bucket] != base_outputs[bucket]
    databases = account.client("rds").describe_db_instances()["DBInstances"]
    protected = {
        database["DBInstanceIdentifier"]: database["DeletionProtection"] for database in databases
    }
    assert protected == {"house-prices-dev-mlflow": False, "house-prices-prod-mlflow": True}


def test_production_is_not_destroyed(account: Account) -> None:
    cloudformation = account.client("cloudformation")
    with pytest.raises(ClientError, match="TerminationProtection is enabled"):
        cloudformation.delete_stack(StackName=stack_name(PROD, StackName.BASE))

    process = try_make(account, "destroy", "STAGE=prod", "ARGS=--yes")

    assert process.returncode == 2
    assert process.stderr.splitlines()[-2].startswith("error: prod is a production stage")


def _start_bastion(account: Account, base_outputs: Outputs, mlflow_outputs: Outputs) -> None:
    network = {
        "subnets": base_outputs[StackOutput.PRIVATE_SUBNETS].split(","),
        "securityGroups": [mlflow_outputs[StackOutput.BASTION_SECURITY_GROUP]],
    }
    account.client("ecs").run_task(
        cluster=mlflow_outputs[StackOutput.MLFLOW_CLUSTER],
        taskDefinition=mlflow_outputs[StackOutput.BASTION_TASK],
        launchType="FARGATE",
        startedBy=BASTION_STARTED_BY,
        networkConfiguration={"awsvpcConfiguration": network},
    )


def test_dev_is_destroyed_with_its_data(
    account: Account, base_outputs: Outputs, mlflow_outputs: Outputs
) -> None:
    bucket, s3 = base_outputs[StackOutput.ARTIFACT_BUCKET], account.client("s3")
    for number in range(3):
        s3.put_object(Bucket=bucket, Key="data/train.csv", Body=str(number).encode())
    s3.delete_object(Bucket=bucket, Key="data/train.csv")
    _start_bastion(account, base_outputs, mlflow_outputs)

    output = make(account, "destroy", "ARGS=--yes")

    assert f"Emptied {bucket} (4 object versions)" in output
    assert not [name for name in _bucket_names(account) if name.startswith(DEV.prefix)]
    production = {stack_name(PROD, name) for name in StackName}
    assert _deployed_stacks(account) == {"CDKToolkit", *production}
    # Destroying a destroyed stage succeeds.
    assert "Deleted house-prices-dev" in make(account, "destroy", "ARGS=--yes")


def test_production_is_destroyed_as_documented(account: Account) -> None:
    unprotected = {"STACK_STAGES__PROD__PRODUCTION": "false"}
    make(account, "deploy", "STAGE=prod", "ARGS=--yes --no-images", **unprotected)
    (database,) = account.client("rds").describe_db_instances()["DBInstances"]
    assert database["DeletionProtection"] is False

    make(account, "destroy", "STAGE=prod", "ARGS=--yes", **unprotected)

    assert _deployed_stacks(account) == {"CDKToolkit"}
    assert not [name for name in _bucket_names(account) if name.startswith(PROD.prefix)]
