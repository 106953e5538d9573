"""Storage and retention: the data key, the buckets and the image repositories."""

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from constructs import Construct

from contract.names import BucketPrefix, Image, repository_name
from contract.settings.stage import Stage
from infra.overrides import get_attribute, override_property

NONCURRENT_VERSION_DAYS = 30
UNTAGGED_IMAGE_DAYS = 7
LATEST_IMAGE_COUNT = 20
"""An image that was not released is kept while it is among so many latest ones of its repository.

Released images count as well, although they never expire: "Rules can never mark images that are
marked by higher priority rules, but can still identify them"
(https://docs.aws.amazon.com/AmazonECR/latest/userguide/LifecyclePolicies.html). A rule for the tags
`content-*` would also count them, because a released image keeps that tag.
"""
UNLIMITED_IMAGE_COUNT = 9999
"""A count that no repository reaches."""


def removal_policy(stage: Stage) -> RemovalPolicy:
    """Return what happens to data when its stack is deleted: production retains it."""
    return RemovalPolicy.RETAIN if stage.production else RemovalPolicy.DESTROY


def create_log_group(scope: Construct, construct_id: str, stage: Stage) -> logs.LogGroup:
    """Create a log group with the stage's retention."""
    log_group = logs.LogGroup(scope, construct_id, removal_policy=removal_policy(stage))
    # The CDK has an enum member for each number of days; CloudFormation has the number.
    override_property(log_group, "RetentionInDays", stage.log_retention_days)
    return log_group


class DataKey(kms.Key):
    """The key that encrypts the artifact bucket, images, the database and secrets."""

    def __init__(self, scope: Construct, construct_id: str, stage: Stage) -> None:
        """Create the key; it is rotated every year."""
        super().__init__(
            scope,
            construct_id,
            alias=f"{stage.prefix}/data",
            description=f"Data, images, database and secrets of {stage.prefix}",
            enable_key_rotation=True,
            removal_policy=removal_policy(stage),
        )


class Buckets(Construct):
    """The artifact bucket, and the log bucket, which also holds its access logs."""

    def __init__(self, scope: Construct, construct_id: str, stage: Stage, key: kms.IKey) -> None:
        """Create both: no public access, TLS only, versioned."""
        super().__init__(scope, construct_id)
        self.logs = _create_bucket(
            self,
            "Logs",
            stage,
            [
                s3.LifecycleRule(
                    id="expire",
                    expiration=Duration.days(stage.access_log_retention_days),
                    noncurrent_version_expiration=Duration.days(1),
                    abort_incomplete_multipart_upload_after=Duration.days(1),
                )
            ],
        )
        self.artifacts = _create_bucket(
            self, "Artifacts", stage, _artifact_lifecycle(stage), key=key, log_bucket=self.logs
        )


def _create_bucket(
    scope: Construct,
    construct_id: str,
    stage: Stage,
    lifecycle_rules: list[s3.LifecycleRule],
    *,
    key: kms.IKey | None = None,
    log_bucket: s3.IBucket | None = None,
) -> s3.Bucket:
    """Create a bucket.

    Args:
        scope: The parent construct.
        construct_id: The id of the bucket within its parent.
        stage: Whether the bucket is retained when its stack is deleted.
        lifecycle_rules: How long objects are kept.
        key: The data key. Without it S3 encrypts with its own key: load balancers and S3 itself
            can't write their logs with another one.
        log_bucket: Where S3 writes the bucket's access logs.
    """
    return s3.Bucket(
        scope,
        construct_id,
        encryption=s3.BucketEncryption.KMS if key else s3.BucketEncryption.S3_MANAGED,
        encryption_key=key,
        bucket_key_enabled=True if key else None,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        enforce_ssl=True,
        minimum_tls_version=1.2,
        versioned=True,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        server_access_logs_bucket=log_bucket,
        server_access_logs_prefix="s3-access-logs/" if log_bucket else None,
        lifecycle_rules=lifecycle_rules,
        removal_policy=removal_policy(stage),
    )


def _artifact_lifecycle(stage: Stage) -> list[s3.LifecycleRule]:
    expiration_days = {
        BucketPrefix.JOBS: stage.job_retention_days,
        BucketPrefix.CAPTURED: stage.captured_data_retention_days,
    }
    return [
        s3.LifecycleRule(
            id="incomplete-uploads", abort_incomplete_multipart_upload_after=Duration.days(7)
        ),
        *(
            s3.LifecycleRule(
                id=prefix.name.lower(),
                prefix=prefix,
                expiration=Duration.days(days),
                noncurrent_version_expiration=Duration.days(1),
            )
            for prefix, days in expiration_days.items()
        ),
        # Objects that were overwritten or deleted can be restored for a month.
        *(
            s3.LifecycleRule(
                id=prefix.name.lower(),
                prefix=prefix,
                noncurrent_version_expiration=Duration.days(NONCURRENT_VERSION_DAYS),
            )
            for prefix in (BucketPrefix.DATA, BucketPrefix.RUNS)
        ),
        # A release is never overwritten, and an endpoint always needs its release's files, so
        # releases do not expire. After three months most of them are rarely read.
        s3.LifecycleRule(
            id=BucketPrefix.RELEASES.name.lower(),
            prefix=BucketPrefix.RELEASES,
            transitions=[
                s3.Transition(
                    storage_class=s3.StorageClass.INTELLIGENT_TIERING,
                    transition_after=Duration.days(90),
                )
            ],
        ),
    ]


class Repositories(Construct):
    """One ECR repository per image; tags are immutable, and images are scanned when pushed."""

    def __init__(self, scope: Construct, construct_id: str, stage: Stage, key: kms.IKey) -> None:
        """Create one repository for each target of the Dockerfile."""
        super().__init__(scope, construct_id)
        self.by_image = {
            image: ecr.Repository(
                self,
                image.value.title(),
                repository_name=repository_name(stage, image),
                image_tag_mutability=ecr.TagMutability.IMMUTABLE,
                image_scan_on_push=True,
                encryption=ecr.RepositoryEncryption.KMS,
                encryption_key=key,
                lifecycle_rules=_image_lifecycle(),
                removal_policy=removal_policy(stage),
                empty_on_delete=not stage.production,
            )
            for image in Image
        }
        # ECR's own attribute; the CDK would assemble the URI from the account and the region.
        self.uri_by_image = {
            image: get_attribute(repository, "RepositoryUri")
            for image, repository in self.by_image.items()
        }


def _image_lifecycle() -> list[ecr.LifecycleRule]:
    """Return the rules; only the first that matches an image can expire it, so the first protects.

    An image that is in use has the tag of the first one: aws/images.py sets it.
    """
    return [
        ecr.LifecycleRule(
            rule_priority=1,
            description="Released images never expire",
            tag_prefix_list=["release-"],
            max_image_count=UNLIMITED_IMAGE_COUNT,
        ),
        ecr.LifecycleRule(
            rule_priority=2,
            description="Untagged images expire after a week",
            tag_status=ecr.TagStatus.UNTAGGED,
            max_image_age=Duration.days(UNTAGGED_IMAGE_DAYS),
        ),
        ecr.LifecycleRule(
            rule_priority=3,
            description="Images that were not released expire unless they are among the latest",
            tag_status=ecr.TagStatus.ANY,
            max_image_count=LATEST_IMAGE_COUNT,
        ),
    ]
