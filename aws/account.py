"""The AWS account of the credentials, and the outputs of a stage's stacks."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from contract.errors import InfraError
from contract.names import (
    NO_IMAGE,
    Image,
    StackName,
    StackOutput,
    image_digest_parameter,
    stack_name,
)
from contract.settings.stage import Stage


class StackNotDeployedError(InfraError):
    """A stack does not exist in the account."""


class AwsAccount:
    """The account of the credentials, in a stage's region."""

    def __init__(self, stage: Stage, profile: str = "") -> None:
        """Look up the account ID of the credentials.

        Args:
            stage: The stage, whose region is used.
            profile: The AWS profile of the credentials; by default those of the environment.

        Raises:
            InfraError: There are no valid credentials, or they belong to another account than the
                settings name.
        """
        self.stage = stage
        with aws_errors("AWS"):
            self._session = boto3.Session(profile_name=profile or None, region_name=stage.region)
            self.account_id = str(self.client("sts").get_caller_identity()["Account"])
        if stage.account not in {"", self.account_id}:
            raise InfraError(
                f"the credentials are of account {self.account_id}, but infra.account is "
                f"{stage.account}; nothing was changed"
            )

    def client(self, service: str) -> Any:  # noqa: ANN401 - boto3 creates its clients' types at run time
        """Return boto3's client of a service."""
        return self._session.client(service)

    @property
    def session(self) -> boto3.Session:
        """The boto3 session of the credentials."""
        return self._session

    @property
    def ca_bundle(self) -> str | None:
        """The file with the certificates that AWS's are checked by, if not the default ones."""
        bundle: str | None = self._session._session.get_config_variable("ca_bundle")
        return bundle

    def outputs(self, stack: StackName) -> dict[StackOutput, str]:
        """Return the outputs of a deployed stack.

        Raises:
            StackNotDeployedError: The stack does not exist.
            InfraError: AWS denies the request.
        """
        name = stack_name(self.stage, stack)
        try:
            with aws_errors(name):
                response = self.client("cloudformation").describe_stacks(StackName=name)
        except InfraError as error:
            if "does not exist" not in str(error):
                raise
            reason = f"stack {name} is not deployed in {self.stage.region}"
            raise StackNotDeployedError(f"{reason}; run make deploy") from None
        known = {output.value for output in StackOutput}
        return {
            StackOutput(output["OutputKey"]): output["OutputValue"]
            for output in response["Stacks"][0].get("Outputs", [])
            if output["OutputKey"] in known
        }

    def image_digest(self, image: Image) -> str:
        """Return the recorded digest of an image; NO_IMAGE before the first one.

        Raises:
            InfraError: AWS denies the request.
        """
        ssm, name = self.client("ssm"), image_digest_parameter(self.stage, image)
        with aws_errors(name):
            try:
                response = ssm.get_parameter(Name=name)
            except ssm.exceptions.ParameterNotFound:
                return NO_IMAGE
        return str(response["Parameter"]["Value"])

    def put_image_digest(self, image: Image, digest: str) -> None:
        """Record the digest of an image for later deployments.

        Raises:
            InfraError: AWS denies the request.
        """
        name = image_digest_parameter(self.stage, image)
        with aws_errors(name):
            self.client("ssm").put_parameter(Name=name, Value=digest, Type="String", Overwrite=True)


@contextmanager
def aws_errors(subject: str) -> Iterator[None]:
    """Convert boto3's errors to an InfraError of one line that starts with the subject."""
    try:
        yield
    except ClientError as error:
        raise InfraError(f"{subject}: {error.response['Error'].get('Message', error)}") from None
    except BotoCoreError as error:
        raise InfraError(f"{subject}: {' '.join(str(error).split())}") from None
