"""Rights that several roles have: over what is kept, over logs and over metrics."""

from collections.abc import Mapping
from dataclasses import dataclass

from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3

from contract.names import BucketPrefix, Image
from infra.fargate import PULL
from infra.policy import ANYTHING, Statement, arn

READ_KEY = ("kms:Decrypt", "kms:DescribeKey")
USE_KEY = (*READ_KEY, "kms:GenerateDataKey*")
JOBS, ENDPOINTS = "/aws/sagemaker/TrainingJobs", "/aws/sagemaker/Endpoints"
"""Where SageMaker keeps the logs of each."""


@dataclass(frozen=True)
class DataAccess:
    """What is kept, and the rights over it."""

    bucket: s3.IBucket
    """Of artifacts."""
    key: kms.IKey
    """Of the bucket and of all volumes."""
    repositories: Mapping[Image, ecr.IRepository]
    """Of the images."""

    def objects(self, *prefixes: BucketPrefix) -> list[str]:
        """Return all objects below some prefixes, as ARNs."""
        return [self.bucket.arn_for_objects(f"{prefix}*") for prefix in prefixes]

    def look_into(self, *prefixes: BucketPrefix) -> Statement:
        """List what lies below some prefixes."""
        return Statement(
            "List",
            "what lies below the prefixes that it reads",
            ["s3:ListBucket"],
            [self.bucket.bucket_arn],
            {"StringLike": {"s3:prefix": [f"{prefix}*" for prefix in prefixes]}},
        )

    def use_key(self) -> Statement:
        """Read and write what is encrypted."""
        return Statement(
            "UseKey",
            "all that lies in the bucket is encrypted with the one key; GenerateDataKey* is with "
            "and without plaintext",
            USE_KEY,
            [self.key.key_arn],
        )

    def pull(self, image: Image) -> list[Statement]:
        """Pull an image."""
        return [
            Statement("PullImage", "its own", PULL, [self.repositories[image].repository_arn]),
            Statement(
                "LogInToImages",
                "AWS knows no resource for a login to ECR",
                ["ecr:GetAuthorizationToken"],
                [ANYTHING],
            ),
        ]

    def encrypt_volumes(self) -> Statement:
        """Give volumes the key."""
        return Statement(
            "EncryptVolumes",
            "the volumes of a job or an endpoint get their key by a grant of whoever makes it",
            ["kms:CreateGrant"],
            [self.key.key_arn],
            {"Bool": {"kms:GrantIsForAWSResource": "true"}},
        )


def write_logs(group: str) -> Statement:
    """Write SageMaker's logs of a kind."""
    return Statement(
        "WriteLogs",
        "SageMaker makes a log group or a stream for each job and endpoint, and looks for those "
        "that are there",
        [
            *("logs:CreateLogGroup", "logs:CreateLogStream"),
            *("logs:DescribeLogStreams", "logs:PutLogEvents"),
        ],
        [log_arn(group)],
    )


def write_metrics(*namespaces: str) -> Statement:
    """Write metrics of some namespaces."""
    return Statement(
        "WriteMetrics",
        "CloudWatch knows no resource for metrics: the namespaces are the bound",
        ["cloudwatch:PutMetricData"],
        [ANYTHING],
        {"StringEquals": {"cloudwatch:namespace": list(namespaces)}},
    )


def log_arn(group: str) -> str:
    """Return all log groups whose names begin so, as an ARN."""
    return arn("logs", f"log-group:{group}*")


def sagemaker_arn(kind: str, name: str) -> str:
    """Return one of SageMaker's things, as an ARN."""
    return arn("sagemaker", f"{kind}/{name}")
