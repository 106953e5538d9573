"""The tables of a training in S3: uploaded once, under their digest."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boto3.exceptions import S3UploadFailedError
from botocore.exceptions import ClientError

from aws.account import AwsAccount
from aws.retries import call_with_retries
from contract.errors import DataError, InfraError
from contract.names import BucketPrefix
from contract.settings.loader import Settings
from contract.training_job import TABLE_KEYS, Channel

logger = logging.getLogger(__name__)

SUFFIXES = (".csv", ".parquet")
"""The files of a folder that make up a table; training/data/tables.py reads the same ones."""


@dataclass(frozen=True)
class Table:
    """A table of a training."""

    channel: Channel
    files: tuple[Path, ...]
    """The local files to upload; empty for a table that is in S3 already."""
    uri: str
    """The object, or the prefix of the objects, that the job reads."""
    digest: str
    """SHA-256 of the file, of the files' names and digests, or of the objects' keys and tags."""
    size: int
    """Bytes."""
    objects: Mapping[str, int] = field(default_factory=dict)
    """The bytes of each object, by its key, of a table that is in S3 already."""


def find_tables(settings: Settings, account: AwsAccount, bucket: str) -> list[Table]:
    """Return the tables that the settings name; nothing is uploaded yet.

    Raises:
        DataError: A table doesn't exist, or is in S3 where training jobs may not read.
        InfraError: AWS refuses a request.
    """
    paths = {channel: getattr(settings.data, key) for channel, key in TABLE_KEYS.items()}
    return [
        _find_in_s3(channel, path, account, bucket)
        if path.startswith("s3://")
        else _find_on_disk(channel, Path(settings.resolve_path(path)), bucket)
        for channel, path in paths.items()
        if path
    ]


def upload_table(table: Table, account: AwsAccount) -> None:
    """Upload the files of a table that S3 doesn't have yet.

    Raises:
        InfraError: AWS refuses a request.
    """
    for file in table.files:
        uri = f"{table.uri}{file.name}" if table.uri.endswith("/") else table.uri

        def upload(file: Path = file, uri: str = uri) -> None:
            if find_object_size(account, uri) != file.stat().st_size:
                logger.info("Uploading %s to %s", file, uri)
                _upload_file(account, file, uri)

        call_with_retries(account, uri, upload)


def split_uri(uri: str) -> tuple[str, str]:
    """Return the bucket and the key of an `s3://` URI."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def find_object_size(account: AwsAccount, uri: str) -> int | None:
    """Return the bytes of an object in S3; None if there is none.

    By a list, because the response to a HEAD request has no error code: expired credentials could
    not be told from others.
    """
    bucket, key = split_uri(uri)
    found = account.client("s3").list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
    # The key itself is the first of those that start with it.
    sizes = {entry["Key"]: int(entry["Size"]) for entry in found.get("Contents", [])}
    return sizes.get(key)


def _find_on_disk(channel: Channel, path: Path, bucket: str) -> Table:
    files = _list_files(path)
    if path.is_file():
        digest, name = _digest_file(path), path.name
    else:
        # With the names: all files below a prefix are read, also those of a folder as it was before
        # a file was renamed.
        content = "".join(f"{file.name} {_digest_file(file)}\n" for file in files)
        digest, name = hashlib.sha256(content.encode()).hexdigest(), ""
    return Table(
        channel=channel,
        files=files,
        uri=f"s3://{bucket}/{BucketPrefix.DATA}{digest}/{name}",
        digest=digest,
        size=sum(file.stat().st_size for file in files),
    )


def _list_files(path: Path) -> tuple[Path, ...]:
    try:
        if path.is_dir():
            files = tuple(sorted(file for file in path.iterdir() if file.suffix in SUFFIXES))
        else:
            files = (path,) if path.stat() and path.suffix in SUFFIXES else ()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    if not files:
        raise DataError(f"{path}: a table is a .csv or .parquet file, or a folder of such files")
    return files


def _digest_file(file: Path) -> str:
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from None


def _find_in_s3(channel: Channel, uri: str, account: AwsAccount, bucket: str) -> Table:
    allowed = f"s3://{bucket}/{BucketPrefix.DATA}"
    if not uri.startswith(allowed):
        reason = f"the training role reads tables below {allowed} only; copy it there"
        raise DataError(f"{uri}: {reason}")
    objects = call_with_retries(account, uri, lambda: _list_objects(account, uri))
    if not objects:  # not a file, so a folder
        uri = f"{uri.rstrip('/')}/"
        objects = call_with_retries(account, uri, lambda: _list_objects(account, uri))
    if not objects:
        raise DataError(f"{uri}: no .csv or .parquet object there")
    content = "".join(f"{entry['Key']} {entry['ETag']} {entry['Size']}\n" for entry in objects)
    digest = hashlib.sha256(content.encode()).hexdigest()
    sizes = {str(entry["Key"]): int(entry["Size"]) for entry in objects}
    return Table(channel, (), uri, digest, sum(sizes.values()), sizes)


def _list_objects(account: AwsAccount, uri: str) -> list[dict[str, Any]]:
    """Return the objects of a table: the one of this key, or those directly below `folder/`."""
    bucket, key = split_uri(uri)
    pages = account.client("s3").get_paginator("list_objects_v2")
    found = (
        entry
        for page in pages.paginate(Bucket=bucket, Prefix=key, Delimiter="/")
        for entry in page.get("Contents", [])
    )
    return [
        entry
        for entry in found
        if entry["Key"].endswith(SUFFIXES) and (key.endswith("/") or entry["Key"] == key)
    ]


def _upload_file(account: AwsAccount, file: Path, uri: str) -> None:
    bucket, key = split_uri(uri)
    try:
        account.client("s3").upload_file(str(file), bucket, key)
    except S3UploadFailedError as error:  # it hides the error of the request
        if isinstance(error.__context__, ClientError):
            raise error.__context__ from None
        raise InfraError(f"{uri}: {' '.join(str(error).split())}") from None
