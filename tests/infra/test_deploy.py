"""The real CDK on an emulated account: from nothing to two stages, changed, and taken back.

The tests are the steps of one story, in their order.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from contract.names import (
    BASTION_STARTED_BY,
    EndpointAlarm,
    StackName,
    StackOutput,
    alarm_name,
    image_digest_parameter,
    stack_name,
)
from scripts.aws.account import Account as Reader
from tests.emulator.account import ACCOUNT, Account, emulated_account
from tests.infra.commands import cdk, make, try_make
from tests.infra.conftest import stage_with

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
DEV, PROD = stage_with("dev", {}), stage_with("prod", {})
DIGEST = "sha256:" + "ab" * 32


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with emulated_account(tmp_path_factory.mktemp("account")) as account:
        yield account


@pytest.fixture
def reader(account: Account, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """What the commands read the deployed stacks with."""
    for name, value in account.environment.items():
        monkeypatch.setenv(name, value)
    return Reader(DEV)


def service(account: Account, reader: Reader) -> dict[str, Any]:
    tracking = reader.outputs(StackName.MLFLOW)
    found = account.client("ecs").describe_services(
        cluster=tracking[StackOutput.MLFLOW_CLUSTER],
        services=[tracking[StackOutput.MLFLOW_SERVICE]],
    )
    return dict(found["services"][0])


def test_an_account_that_was_not_prepared_is_said(account: Account) -> None:
    done = try_make(account, "deploy", "ARGS=--yes --no-images")

    assert done.returncode == 2
    assert "Has the environment been bootstrapped?" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_it_is_prepared(account: Account) -> None:
    assert "bootstrapped" in make(account, "bootstrap")
    # Before its first cluster: what is made right after one needs it.
    place = "/aws-service-role/ecs.amazonaws.com/"
    assert account.client("iam").list_roles(PathPrefix=place)["Roles"]
    # Again is no harm.
    assert "bootstrapped" in make(account, "bootstrap")


def test_nothing_is_deployed_without_an_answer(account: Account) -> None:
    done = try_make(account, "deploy", "ARGS=--no-images")

    assert done.returncode == 2
    assert "USD a month" in done.stderr
    assert done.stderr.splitlines()[-2] == "error: not answered"
    stacks = account.client("cloudformation").list_stacks()["StackSummaries"]
    assert [one["StackName"] for one in stacks] == ["CDKToolkit"]


def test_dev_is_deployed(account: Account) -> None:
    said = make(account, "deploy", "ARGS=--yes --no-images")

    assert f"Deployed  {', '.join(stack_name(DEV, part) for part in StackName)}" in said
    assert "Artifacts s3://" in said


def test_the_bucket_is_private_and_encrypted(account: Account, reader: Reader) -> None:
    name, s3 = reader.outputs(StackName.BASE)[StackOutput.ARTIFACT_BUCKET], account.client("s3")
    key = reader.outputs(StackName.BASE)[StackOutput.DATA_KEY]

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


def test_the_roles_have_their_rights(account: Account, reader: Reader) -> None:
    iam = account.client("iam")
    role = reader.outputs(StackName.BASE)[StackOutput.INVOKING_ROLE].rpartition("/")[2]

    assert iam.list_role_policies(RoleName=role)["PolicyNames"] == ["rights"]
    policy = iam.get_role_policy(RoleName=role, PolicyName="rights")["PolicyDocument"]
    (statement,) = policy["Statement"]
    assert statement["Action"] == "sagemaker:InvokeEndpoint"
    assert statement["Resource"] == (
        f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:endpoint/{DEV.endpoint}"
    )
    assert not iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]


def test_the_repositories_are_immutable_and_scanned(account: Account, reader: Reader) -> None:
    uris = reader.outputs(StackName.BASE)
    for output in (
        StackOutput.SERVE_REPOSITORY,
        StackOutput.TRAIN_REPOSITORY,
        StackOutput.MLFLOW_REPOSITORY,
    ):
        name = uris[output].partition("/")[2]
        (found,) = account.client("ecr").describe_repositories(repositoryNames=[name])[
            "repositories"
        ]
        assert found["imageTagMutability"] == "IMMUTABLE"
        assert found["imageScanningConfiguration"] == {"scanOnPush": True}


def test_the_service_starts_at_zero(account: Account, reader: Reader) -> None:
    assert service(account, reader)["desiredCount"] == 0


def test_the_alarms_are_there_before_the_endpoint_is(account: Account) -> None:
    found = account.client("cloudwatch").describe_alarms(
        AlarmNames=[alarm_name(DEV, one) for one in EndpointAlarm]
    )
    assert len(found["MetricAlarms"]) == 3


def test_an_unchanged_one_is_not_deployed_again(account: Account) -> None:
    said = cdk(account, "deploy", "--all", "--require-approval", "never", "--method", "direct")

    # The tracking stack asks for its image's parameter each time, and finds it the same.
    assert said.count("(no changes)") >= 2


def test_plain_cdk_deploys_the_image_that_was_pushed_last(account: Account, reader: Reader) -> None:
    account.client("ssm").put_parameter(
        Name=image_digest_parameter(DEV), Value=DIGEST, Type="String", Overwrite=True
    )

    cdk(account, "deploy", "--all", "--require-approval", "never", "--method", "direct")

    now = service(account, reader)
    assert now["desiredCount"] == DEV.mlflow_tasks
    task = account.client("ecs").describe_task_definition(taskDefinition=now["taskDefinition"])
    images = {one["image"] for one in task["taskDefinition"]["containerDefinitions"]}
    repository = reader.outputs(StackName.BASE)[StackOutput.MLFLOW_REPOSITORY]
    assert images == {f"{repository}@{DIGEST}"}


def test_a_change_is_shown_and_deployed(account: Account) -> None:
    changed = {"STACK_INFRA__LATENCY_ALARM_MS": "300"}
    assert "300000" in make(account, "diff", **changed)

    make(account, "deploy", "ARGS=--yes --no-images", **changed)

    (alarm,) = account.client("cloudwatch").describe_alarms(
        AlarmNames=[alarm_name(DEV, EndpointAlarm.LATENCY)]
    )["MetricAlarms"]
    assert alarm["Threshold"] == 300_000


def test_another_account_is_refused(account: Account) -> None:
    done = try_make(account, "deploy", "ARGS=--yes", STACK_INFRA__ACCOUNT="999999999999")

    assert done.returncode == 2
    assert f"error: the credentials are of account {ACCOUNT}" in done.stderr


def test_production_is_deployed_beside_it(account: Account, reader: Reader) -> None:
    make(account, "deploy", "STAGE=prod", "ARGS=--yes --no-images")

    base = Reader(PROD).outputs(StackName.BASE)
    assert (
        base[StackOutput.ARTIFACT_BUCKET]
        != reader.outputs(StackName.BASE)[StackOutput.ARTIFACT_BUCKET]
    )
    databases = account.client("rds").describe_db_instances()["DBInstances"]
    protected = {one["DBInstanceIdentifier"]: one["DeletionProtection"] for one in databases}
    assert protected == {"house-prices-dev-mlflow": False, "house-prices-prod-mlflow": True}


def test_production_is_not_destroyed(account: Account) -> None:
    protected = account.client("cloudformation")
    with pytest.raises(protected.exceptions.ClientError, match="TerminationProtection is enabled"):
        protected.delete_stack(StackName=stack_name(PROD, StackName.BASE))

    done = try_make(account, "destroy", "STAGE=prod", "ARGS=--yes")

    assert done.returncode == 2
    assert done.stderr.splitlines()[-2].startswith("error: prod is a production stage")


def test_dev_is_taken_back_with_what_it_keeps(account: Account, reader: Reader) -> None:
    bucket, s3 = reader.outputs(StackName.BASE)[StackOutput.ARTIFACT_BUCKET], account.client("s3")
    for number in range(3):
        s3.put_object(Bucket=bucket, Key="data/train.csv", Body=str(number).encode())
    s3.delete_object(Bucket=bucket, Key="data/train.csv")

    forward = reader.outputs(StackName.MLFLOW)[StackOutput.BASTION_TASK]
    cluster, ecs = (
        reader.outputs(StackName.MLFLOW)[StackOutput.MLFLOW_CLUSTER],
        account.client("ecs"),
    )
    subnets = reader.outputs(StackName.BASE)[StackOutput.PRIVATE_SUBNETS].split(",")
    group = reader.outputs(StackName.MLFLOW)[StackOutput.BASTION_SECURITY_GROUP]
    network = {"awsvpcConfiguration": {"subnets": subnets, "securityGroups": [group]}}
    ecs.run_task(
        cluster=cluster,
        taskDefinition=forward,
        launchType="FARGATE",
        startedBy=BASTION_STARTED_BY,
        networkConfiguration=network,
    )

    said = make(account, "destroy", "ARGS=--yes")

    assert f"Emptied {bucket} (4 versions of objects)" in said
    names = {one["Name"] for one in s3.list_buckets()["Buckets"]}
    assert not [name for name in names if name.startswith(DEV.prefix)]
    stacks = account.client("cloudformation").describe_stacks()["Stacks"]
    assert {one["StackName"] for one in stacks} == {
        "CDKToolkit",
        *(stack_name(PROD, part) for part in StackName),
    }
    # Again is no harm: what is gone is gone.
    assert "Deleted house-prices-dev" in make(account, "destroy", "ARGS=--yes")


def test_production_is_ended_as_the_guide_tells(account: Account) -> None:
    ended = {"STACK_STAGES__PROD__PRODUCTION": "false"}
    make(account, "deploy", "STAGE=prod", "ARGS=--yes --no-images", **ended)
    (database,) = account.client("rds").describe_db_instances()["DBInstances"]
    assert database["DeletionProtection"] is False

    make(account, "destroy", "STAGE=prod", "ARGS=--yes", **ended)

    stacks = account.client("cloudformation").describe_stacks()["Stacks"]
    assert {one["StackName"] for one in stacks} == {"CDKToolkit"}
    names = {one["Name"] for one in account.client("s3").list_buckets()["Buckets"]}
    assert not [name for name in names if name.startswith(PROD.prefix)]
