"""Emptying versioned S3 buckets, so that their stack can be deleted."""

import logging
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError

from aws.account import AwsAccount, aws_errors
from contract.errors import InfraError

logger = logging.getLogger(__name__)

BATCH_SIZE = 1000
"""The most objects that one call of S3's DeleteObjects accepts."""
NO_SUCH_BUCKET = "NoSuchBucket"


def empty_bucket(account: AwsAccount, bucket: str) -> None:
    """Delete all versions of all objects of a bucket; a bucket that doesn't exist is empty.

    Raises:
        InfraError: S3 denies the request, or an object can't be deleted.
    """
    s3, deleted = account.client("s3"), 0
    with aws_errors(bucket):
        try:
            for batch in _batches(_list_versions(s3, bucket)):
                objects = {"Objects": batch, "Quiet": True}
                response = s3.delete_objects(Bucket=bucket, Delete=objects)
                if errors := response.get("Errors"):
                    first = errors[0]
                    raise InfraError(f"{bucket}: {first['Key']}: {first['Message']}")
                deleted += len(batch)
        except ClientError as error:
            if error.response["Error"]["Code"] != NO_SUCH_BUCKET:
                raise
    logger.info("Emptied %s (%d object versions)", bucket, deleted)


def disable_access_logging(account: AwsAccount, bucket: str) -> None:
    """Turn off a bucket's access logging: emptying the bucket would be logged as well.

    Raises:
        InfraError: S3 denies the request.
    """
    with aws_errors(bucket):
        try:
            account.client("s3").put_bucket_logging(Bucket=bucket, BucketLoggingStatus={})
        except ClientError as error:
            if error.response["Error"]["Code"] != NO_SUCH_BUCKET:
                raise


def _list_versions(s3: Any, bucket: str) -> Iterator[dict[str, str]]:  # noqa: ANN401 - boto3's
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for version in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
            yield {"Key": version["Key"], "VersionId": version["VersionId"]}


def _batches(versions: Iterator[dict[str, str]]) -> Iterator[list[dict[str, str]]]:
    batch: list[dict[str, str]] = []
    for version in versions:
        batch.append(version)
        if len(batch) == BATCH_SIZE:
            yield batch
            batch = []
    if batch:
        yield batch
