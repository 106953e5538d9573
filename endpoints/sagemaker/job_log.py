"""The log of a training job in CloudWatch, read while the job runs."""

import logging
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError

from aws.account import AwsAccount
from aws.retries import call_with_retries
from contract.names import TRAINING_LOG_GROUP

logger = logging.getLogger(__name__)

LEADER = "algo-1"
"""The host that tracks the training, and whose log is read."""


class JobLog:
    """The lines that the leading host of a job has logged, each returned once."""

    def __init__(self, account: AwsAccount, job: str) -> None:
        """Nothing is read yet."""
        self._account, self._job = account, job
        self._tokens: dict[str, str] = {}
        """Where to continue in each stream; a host that starts again has another one."""
        self._complete: set[str] = set()
        """The streams that no host writes to any more; their tokens would expire after a day."""

    def read(self) -> Iterator[str]:
        """Yield the lines since the last call."""
        streams = call_with_retries(self._account, TRAINING_LOG_GROUP, self._list_streams)
        for stream in streams:
            if stream in self._complete:
                continue
            yield from self._read_stream(stream)
            if stream != streams[-1]:  # the host has started again, and logs to a newer one
                self._complete.add(stream)

    def _list_streams(self) -> list[str]:
        client = self._account.client("logs")
        try:
            response = client.describe_log_streams(
                logGroupName=TRAINING_LOG_GROUP, logStreamNamePrefix=f"{self._job}/{LEADER}-"
            )
        except client.exceptions.ResourceNotFoundException:  # before the account's first job
            return []
        # In the order in which the host was started: the name ends with the time.
        return sorted(stream["logStreamName"] for stream in response["logStreams"])

    def _read_stream(self, stream: str) -> Iterator[str]:
        while True:
            response = call_with_retries(self._account, stream, lambda: self._get_events(stream))
            yield from (event["message"] for event in response["events"])
            token = response["nextForwardToken"]
            # At the end of a stream the token is the one that was passed:
            # https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html
            if token == self._tokens.get(stream):
                return
            self._tokens[stream] = token

    def _get_events(self, stream: str) -> Any:  # noqa: ANN401 - boto3's response
        token = self._tokens.get(stream)
        client = self._account.client("logs")
        try:
            return client.get_log_events(
                logGroupName=TRAINING_LOG_GROUP,
                logStreamName=stream,
                startFromHead=True,
                **({"nextToken": token} if token else {}),
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
            return {"events": [], "nextForwardToken": token or ""}
