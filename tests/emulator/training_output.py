"""What a training job writes: the log streams of its hosts, and the archives in S3."""

import io
import tarfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from tests.emulator.training_host import Host

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
MODEL_ARCHIVE, OUTPUT_ARCHIVE = "model.tar.gz", "output.tar.gz"


class LogStream:
    """A host's log stream. SageMaker creates the log group, without a retention.

    Names: https://docs.aws.amazon.com/sagemaker/latest/dg/logging-cloudwatch.html
    """

    def __init__(self, client: Any, job: str, host: str) -> None:
        self._client, self._name = client, f"{job}/{host}-{int(time.time() * 1000)}"
        with suppress(client.exceptions.ResourceAlreadyExistsException):
            client.create_log_group(logGroupName=LOG_GROUP)
        client.create_log_stream(logGroupName=LOG_GROUP, logStreamName=self._name)

    def write(self, line: str) -> None:
        if line:
            event = {"timestamp": int(time.time() * 1000), "message": line}
            self._client.put_log_events(
                logGroupName=LOG_GROUP, logStreamName=self._name, logEvents=[event]
            )


def upload_archives(s3: Any, request: Mapping[str, Any], hosts: Sequence[Host]) -> None:
    """Upload /opt/ml/model and /opt/ml/output/data of all hosts."""
    for archive, folder in ((MODEL_ARCHIVE, "model"), (OUTPUT_ARCHIVE, "output/data")):
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w:gz") as tar:
            for host in hosts:
                tar.add(host.opt_ml / folder, arcname=".")
        bucket, _, key = output_uri(request, archive).removeprefix("s3://").partition("/")
        options: dict[str, str] = {}
        if key_id := request["OutputDataConfig"].get("KmsKeyId"):
            options = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key_id}
        s3.put_object(Bucket=bucket, Key=key, Body=content.getvalue(), **options)


def output_uri(request: Mapping[str, Any], archive: str) -> str:
    """Return where a job stores an archive."""
    path = request["OutputDataConfig"]["S3OutputPath"].rstrip("/")
    return f"{path}/{request['TrainingJobName']}/output/{archive}"
