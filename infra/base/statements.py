"""Statements that several roles share: access to the stage's data, to logs and to metrics."""

from collections.abc import Mapping
from dataclasses import dataclass

from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3

from contract.names import BucketPrefix, Image
from contract.settings.stage import Stage
from infra.fargate import pull_image
from infra.policy import ANY_RESOURCE, Statement, arn

USE_KEY_ACTIONS = ("kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey*")


@dataclass(frozen=True)
class DataAccess:
    """The resources that hold a stage's data, and the statements that grant access to them."""

    bucket: s3.IBucket
    """The artifact bucket."""
    key: kms.IKey
    """Encrypts the bucket and all volumes."""
    repositories: Mapping[Image, ecr.IRepository]

    def object_arns(self, *prefixes: BucketPrefix) -> list[str]:
        """Return the ARNs of all objects below the prefixes."""
        return [self.bucket.arn_for_objects(f"{prefix}*") for prefix in prefixes]

    def list_prefixes(self, *prefixes: BucketPrefix) -> Statement:
        """Return the permission to list the objects below the prefixes."""
        return Statement(
            "ListPrefixes",
            "only the prefixes that the role reads",
            ["s3:ListBucket"],
            [self.bucket.bucket_arn],
            {"StringLike": {"s3:prefix": [f"{prefix}*" for prefix in prefixes]}},
        )

    def use_key(self) -> Statement:
        """Return the permission to read and write encrypted objects."""
        return Statement(
            "UseDataKey",
            "all objects in the bucket are encrypted with this key; GenerateDataKey* covers the "
            "actions with and without plaintext",
            USE_KEY_ACTIONS,
            [self.key.key_arn],
        )

    def encrypt_volumes(self, reason: str) -> Statement:
        """Return the permission to encrypt volumes with the key, by a grant to SageMaker."""
        return Statement(
            "EncryptVolumes",
            reason,
            ["kms:CreateGrant"],
            [self.key.key_arn],
            {"Bool": {"kms:GrantIsForAWSResource": "true"}},
        )

    def pull_image(self, image: Image) -> list[Statement]:
        """Return the permissions to pull an image."""
        return pull_image(self.repositories[image])


def write_logs(log_group: str, stream_prefix: str = "") -> list[Statement]:
    """Return the permissions to write the streams of a log group.

    Args:
        log_group: Its name.
        stream_prefix: What the names of the streams start with.
    """
    return [
        Statement(
            "UseLogGroup",
            "SageMaker creates the log group if there is none, and looks up the existing streams",
            ["logs:CreateLogGroup", "logs:DescribeLogStreams"],
            [log_group_arn(log_group)],
        ),
        Statement(
            "WriteLogs",
            "SageMaker creates a log stream for each instance, whose name starts with that of the "
            "job or of the endpoint's variant",
            ["logs:CreateLogStream", "logs:PutLogEvents"],
            [log_stream_arn(log_group, stream_prefix)],
        ),
    ]


def write_metrics(*namespaces: str) -> Statement:
    """Return the permission to publish CloudWatch metrics in the namespaces."""
    return Statement(
        "WriteMetrics",
        "cloudwatch:PutMetricData does not support resource-level permissions; the condition "
        "limits it to these namespaces",
        ["cloudwatch:PutMetricData"],
        [ANY_RESOURCE],
        {"StringEquals": {"cloudwatch:namespace": list(namespaces)}},
    )


def log_group_arn(log_group: str) -> str:
    """Return the ARN of a log group and of its streams.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_LogGroup.html: IAM
    policies use the ARN that ends with `:*` for nearly all actions.
    """
    return arn("logs", f"log-group:{log_group}:*")


def log_stream_arn(log_group: str, prefix: str) -> str:
    """Return the ARN of all streams of a log group whose names start with a prefix.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoncloudwatchlogs.html
    lists the actions that take it; DescribeLogStreams and FilterLogEvents do not.
    """
    return arn("logs", f"log-group:{log_group}:log-stream:{prefix}*")


def endpoint_log_group(stage: Stage) -> str:
    """Return the name of the log group of the stage's endpoint.

    https://docs.aws.amazon.com/sagemaker/latest/dg/logging-cloudwatch.html
    """
    return f"/aws/sagemaker/Endpoints/{stage.endpoint}"


def sagemaker_arn(resource_type: str, name: str) -> str:
    """Return the ARN of a SageMaker resource, such as an `endpoint`."""
    return arn("sagemaker", f"{resource_type}/{name}")
