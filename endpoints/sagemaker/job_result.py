"""The result of a training job, which its container leaves in output.tar.gz."""

import io
import json
import logging
import tarfile
from typing import Any

from aws.account import AwsAccount
from aws.retries import call_with_retries
from contract.errors import TrainingJobError
from contract.training_job import RESULT_FILE
from endpoints.sagemaker.tables import find_object_size, split_uri
from training.result import TrainingResult

logger = logging.getLogger(__name__)


def has_result(account: AwsAccount, uri: str) -> bool:
    """Return whether the result of a job is still in S3, where it expires.

    Args:
        account: The account.
        uri: The job's output.tar.gz.

    Raises:
        InfraError: AWS refuses the request.
    """
    return call_with_retries(account, uri, lambda: find_object_size(account, uri)) is not None


def read_result(account: AwsAccount, uri: str) -> TrainingResult:
    """Return the result of a job, and log what it has released.

    Args:
        account: The account.
        uri: The job's output.tar.gz.

    Raises:
        TrainingJobError: The archive has no valid result.
        InfraError: AWS refuses the request.
    """
    bucket, key = split_uri(uri)

    def download() -> bytes:
        response = account.client("s3").get_object(Bucket=bucket, Key=key)
        return bytes(response["Body"].read())

    content = call_with_retries(account, uri, download)
    try:
        result = _extract(content)
        release = result.pop("release")
        training = TrainingResult.from_json(result)
    except (tarfile.TarError, StopIteration, ValueError, KeyError, TypeError) as error:
        raise TrainingJobError(f"{uri}: not the result of a training: {error}") from None
    logger.info(
        "Released %s version %s (sha256 %s)",
        release["model"],
        release["version"],
        release["digest"][:12],
    )
    return training


def _extract(content: bytes) -> dict[str, Any]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        member = next(member for member in archive if member.name.split("/")[-1] == RESULT_FILE)
        file = archive.extractfile(member)
        return dict(json.loads(file.read())) if file else {}
