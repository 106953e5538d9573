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
        self.how_to_continue = "renew them, and run the command again"
        """What to do after the credentials have expired, for messages."""
        self._profile = profile
        with aws_errors("AWS"):
            self._session = self._open_session()
            identity = self.client("sts").get_caller_identity()
        self.account_id, self.caller_arn = str(identity["Account"]), str(identity["Arn"])
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
        """The current session: `renew_credentials` replaces it."""
        return self._session

    def renew_credentials(self) -> bool:
        """Read the credential chain again; return whether it has other credentials now."""
        session = self._open_session()
        try:
            new, old = session.get_credentials(), self._session.get_credentials()
            renewed = bool(new) and (not old or new.access_key != old.access_key)
        except (BotoCoreError, ClientError):
            # Such as an expired single sign-on, or a profile whose role can't be assumed any more.
            return False
        if renewed:
            self._session = session
        return renewed

    def explain(self, error: ClientError, subject: str) -> str:
        """Return an error of AWS in one line: the operation, the subject, the reason, the fix."""
        code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
        line = f"{error.operation_name} of {subject}: {message or code}"
        if "AccessDenied" in code or code == "UnauthorizedOperation":
            role = f"the deploying role of {self.stage.prefix} (output DeployingRole) may do that"
            return f"{line}; the credentials are of {self.caller_arn}; {role}"
        if code in {"ResourceLimitExceeded", "ServiceQuotaExceededException"}:
            advice = "request a quota increase in Service Quotas, or set another instance type"
            return f"{line}; {advice}"
        return line

    def _open_session(self) -> boto3.Session:
        """Return a session of the credentials; they are read when they are first used."""
        return boto3.Session(profile_name=self._profile or None, region_name=self.stage.region)

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
