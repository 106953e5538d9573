"""The AWS account that the credentials are of, and what a stage's stacks tell of themselves."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from contract.errors import InfraError
from contract.names import NO_IMAGE, StackName, StackOutput, image_digest_parameter, stack_name
from contract.settings.stage import Stage


class Account:
    """The account in a stage's region."""

    def __init__(self, stage: Stage) -> None:
        """Ask whose the credentials are.

        Raises:
            InfraError: There are none, they aren't valid, or they are another account's than the
                settings name.
        """
        self.stage = stage
        self._session = boto3.Session(region_name=stage.region)
        with errors("AWS"):
            self.number = str(self.client("sts").get_caller_identity()["Account"])
        if stage.account not in {"", self.number}:
            raise InfraError(
                f"the credentials are of account {self.number}, and infra.account is "
                f"{stage.account}: nothing was done"
            )

    def client(self, service: str) -> Any:  # noqa: ANN401 - boto3 makes its clients' types at run time
        """Return boto3's client of a service."""
        return self._session.client(service)

    def outputs(self, part: StackName) -> dict[StackOutput, str]:
        """Return what a deployed stack tells of itself.

        Raises:
            InfraError: It isn't deployed.
        """
        name = stack_name(self.stage, part)
        try:
            with errors(name):
                (stack,) = self.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
        except InfraError as error:
            if "does not exist" not in str(error):
                raise
            reason = f"stack {name} isn't deployed in {self.stage.region}"
            raise InfraError(f"{reason}: `make deploy` does it") from None
        known = {one.value for one in StackOutput}
        return {
            StackOutput(one["OutputKey"]): one["OutputValue"]
            for one in stack.get("Outputs", [])
            if one["OutputKey"] in known
        }

    def tracking_image(self) -> str:
        """Return the digest of the image that MLflow's service runs, NO_IMAGE where there is none.

        Raises:
            InfraError: AWS refuses.
        """
        ssm = self.client("ssm")
        with errors("the image's parameter"):
            try:
                found = ssm.get_parameter(Name=image_digest_parameter(self.stage))
            except ssm.exceptions.ParameterNotFound:
                return NO_IMAGE
        return str(found["Parameter"]["Value"])


@contextmanager
def errors(what: str) -> Iterator[None]:
    """Turn what boto3 raises into one line that begins with `what`."""
    try:
        yield
    except ClientError as error:
        raise InfraError(f"{what}: {error.response['Error'].get('Message', error)}") from None
    except BotoCoreError as error:
        raise InfraError(f"{what}: {' '.join(str(error).split())}") from None
