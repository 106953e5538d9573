"""What is kept: data, releases, runs and images, each with how long and under which key."""

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from constructs import Construct

from contract.names import BucketPrefix, Image, repository_name
from contract.settings.stage import Stage
from infra.overrides import attribute, override

OLD_VERSIONS_DAYS = 30
UNTAGGED_DAYS = 7
IMAGES = 20
"""How many images that were never released are kept."""
PROTECTED = 9999
"""A count that no repository reaches."""


def removal_policy(stage: Stage) -> RemovalPolicy:
    """Production's data stays when its stack goes."""
    return RemovalPolicy.RETAIN if stage.production else RemovalPolicy.DESTROY


def log_group(scope: Construct, name: str, stage: Stage) -> logs.LogGroup:
    """Build a group of logs that are kept as long as the stage says."""
    group = logs.LogGroup(scope, name, removal_policy=removal_policy(stage))
    # The CDK has a word for each number of days; CloudFormation has the number.
    override(group, "RetentionInDays", stage.log_retention_days)
    return group


class DataKey(Construct):
    """The key of all that is kept: buckets, images, the database and its passwords."""

    def __init__(self, scope: Construct, name: str, stage: Stage) -> None:
        """Build it, rotated every year."""
        super().__init__(scope, name)
        self.key = kms.Key(
            self,
            "Key",
            alias=f"{stage.prefix}/data",
            description=f"Data, images, database and passwords of {stage.prefix}",
            enable_key_rotation=True,
            removal_policy=removal_policy(stage),
        )


class Buckets(Construct):
    """The artifact bucket, and the one that tells who asked for what."""

    def __init__(self, scope: Construct, name: str, stage: Stage, key: kms.IKey) -> None:
        """Build both: no public access, TLS alone, versions kept."""
        super().__init__(scope, name)
        self.logs = _bucket(
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
        self.artifacts = _bucket(
            self, "Artifacts", stage, _lifecycle(stage), key=key, asked=self.logs
        )


def _bucket(
    scope: Construct,
    name: str,
    stage: Stage,
    lifecycle: list[s3.LifecycleRule],
    *,
    key: kms.IKey | None = None,
    asked: s3.IBucket | None = None,
) -> s3.Bucket:
    """Build a bucket.

    Args:
        scope: The construct.
        name: Within it.
        stage: Whether it stays when its stack goes.
        lifecycle: What is kept for how long.
        key: Ours; S3's own where there is none, since load balancers and S3 itself can't write
            their logs under another one.
        asked: The bucket that keeps who asked for what.
    """
    return s3.Bucket(
        scope,
        name,
        encryption=s3.BucketEncryption.KMS if key else s3.BucketEncryption.S3_MANAGED,
        encryption_key=key,
        bucket_key_enabled=True if key else None,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        enforce_ssl=True,
        minimum_tls_version=1.2,
        versioned=True,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        server_access_logs_bucket=asked,
        server_access_logs_prefix="artifacts/" if asked else None,
        lifecycle_rules=lifecycle,
        removal_policy=removal_policy(stage),
    )


def _lifecycle(stage: Stage) -> list[s3.LifecycleRule]:
    old = Duration.days(OLD_VERSIONS_DAYS)
    expire = {
        BucketPrefix.CHECKPOINTS: stage.checkpoint_retention_days,
        BucketPrefix.CAPTURED: stage.captured_data_retention_days,
    }
    return [
        s3.LifecycleRule(
            id="unfinished-uploads", abort_incomplete_multipart_upload_after=Duration.days(7)
        ),
        *(
            s3.LifecycleRule(
                id=prefix.name.lower(),
                prefix=prefix,
                expiration=Duration.days(days),
                noncurrent_version_expiration=Duration.days(1),
            )
            for prefix, days in expire.items()
        ),
        # What was overwritten or deleted can be had back for a month.
        *(
            s3.LifecycleRule(
                id=prefix.name.lower(), prefix=prefix, noncurrent_version_expiration=old
            )
            for prefix in (BucketPrefix.DATA, BucketPrefix.RUNS)
        ),
        # A release is never overwritten, and an endpoint needs the files of its own for ever: none
        # of them expires. After a quarter of a year few are read.
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
    """A repository an image: tags never move, what is pushed is scanned."""

    def __init__(self, scope: Construct, name: str, stage: Stage, key: kms.IKey) -> None:
        """Build one for each of the Dockerfile's targets."""
        super().__init__(scope, name)
        self.of = {
            image: ecr.Repository(
                self,
                image.value.title(),
                repository_name=repository_name(stage, image),
                image_tag_mutability=ecr.TagMutability.IMMUTABLE,
                image_scan_on_push=True,
                encryption=ecr.RepositoryEncryption.KMS,
                encryption_key=key,
                lifecycle_rules=_image_rules(),
                removal_policy=removal_policy(stage),
                empty_on_delete=not stage.production,
            )
            for image in Image
        }
        # As ECR itself tells it; the CDK would put it together from the account and the region.
        self.uri = {image: attribute(one, "RepositoryUri") for image, one in self.of.items()}


def _image_rules() -> list[ecr.LifecycleRule]:
    """The first rule that matches an image counts alone; a released one meets the first."""
    return [
        ecr.LifecycleRule(
            rule_priority=1,
            description="What was released is never expired",
            tag_prefix_list=["release-"],
            max_image_count=PROTECTED,
        ),
        ecr.LifecycleRule(
            rule_priority=2,
            description="What no tag names is a leftover",
            tag_status=ecr.TagStatus.UNTAGGED,
            max_image_age=Duration.days(UNTAGGED_DAYS),
        ),
        ecr.LifecycleRule(
            rule_priority=3,
            description="Of what was only tried, the latest",
            tag_status=ecr.TagStatus.ANY,
            max_image_count=IMAGES,
        ),
    ]
