"""`make deploy` and `make destroy`, where AWS behaves otherwise than the emulated account.

tests/infra/test_deploy.py tests the rest of both commands.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from aws.account import AwsAccount, StackNotDeployedError
from contract.errors import InfraError
from contract.names import NO_IMAGE, Image, StackName, StackOutput
from contract.settings.stage import Stage
from scripts.aws import cdk
from scripts.stack import deploy, destroy
from tests.emulator.account import Account, emulated_account
from tests.infra.conftest import stage_with

DEV = stage_with("dev", {})
DIGEST = "sha256:" + "ab" * 32


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    with emulated_account(tmp_path) as account:
        for name, value in account.environment.items():
            monkeypatch.setenv(name, value)
        yield account


def test_bucket_is_emptied_again_if_logs_arrive_meanwhile(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3 = account.client("s3")
    base = {StackOutput.ARTIFACT_BUCKET: "artifacts", StackOutput.LOG_BUCKET: "logs"}
    for bucket in base.values():
        s3.create_bucket(Bucket=bucket)
        s3.put_object(Bucket=bucket, Key="one", Body=b"1")
    calls = []

    def destroy_stacks(_stage: Stage, stacks: Sequence[StackName]) -> None:
        calls.append(stacks)
        if len(calls) == 1:  # CloudFormation refuses to delete a bucket that isn't empty
            s3.put_object(Bucket="logs", Key="late", Body=b"1")
            raise InfraError("cdk destroy failed; its output above names the reason")
        for bucket in base.values():
            s3.delete_bucket(Bucket=bucket)

    monkeypatch.setattr(cdk, "destroy", destroy_stacks)

    destroy._destroy_base(AwsAccount(DEV), base)

    assert calls == [[StackName.BASE], [StackName.BASE]]
    assert not s3.list_buckets()["Buckets"]


def test_image_digest_is_kept_if_cloudformation_resets_its_parameter(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws_account = AwsAccount(DEV)

    def deploy_stacks(_stage: Stage, stacks: Sequence[StackName]) -> None:
        if StackName.BASE in stacks:  # CloudFormation writes the template's value
            aws_account.put_image_digest(Image.MLFLOW, NO_IMAGE)

    aws_account.put_image_digest(Image.MLFLOW, DIGEST)
    monkeypatch.setattr(cdk, "synthesize", lambda _stage: Path())
    monkeypatch.setattr(cdk, "diff", lambda _stage: None)
    monkeypatch.setattr(cdk, "deploy", deploy_stacks)
    monkeypatch.setattr(deploy, "monthly_cost", lambda *_: 1.0)
    monkeypatch.setattr(deploy, "_print_summary", lambda *_: None)

    deploy.command(yes=True, images=False)

    assert aws_account.image_digest(Image.MLFLOW) == DIGEST


def test_outputs_of_a_missing_stack_are_reported(account: Account) -> None:
    with pytest.raises(StackNotDeployedError, match=r"house-prices-dev-base is not deployed in"):
        AwsAccount(DEV).outputs(StackName.BASE)
