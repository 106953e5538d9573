"""What a template shows of what is kept: private, encrypted, and for how long."""

import json

from contract.names import Image
from tests.infra.conftest import Synthesised, listed


def test_buckets_are_private_encrypted_versioned_and_kept_in_production(
    stack: Synthesised,
) -> None:
    buckets = list(stack.of_type("AWS::S3::Bucket"))
    assert len(buckets) == 2
    for _, bucket in buckets:
        properties = bucket["Properties"]
        assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
        assert len(properties["PublicAccessBlockConfiguration"]) == 4
        assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
        assert properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert properties["LifecycleConfiguration"]["Rules"]
        kept = "Retain" if stack.stage.production else "Delete"
        assert bucket["DeletionPolicy"] == bucket["UpdateReplacePolicy"] == kept
    policies = stack.properties("AWS::S3::BucketPolicy")
    assert len(policies) == 2
    for policy in policies:
        denied = [
            one
            for one in policy["PolicyDocument"]["Statement"]
            if one["Effect"] == "Deny" and one["Principal"] == {"AWS": "*"}
        ]
        assert {"Bool": {"aws:SecureTransport": "false"}} in [one["Condition"] for one in denied]


def test_releases_and_runs_never_expire(stack: Synthesised) -> None:
    rules = {
        rule.get("Prefix", ""): rule
        for bucket in stack.properties("AWS::S3::Bucket")
        for rule in bucket["LifecycleConfiguration"]["Rules"]
        if "releases" in json.dumps(bucket["LifecycleConfiguration"])
    }

    assert set(rules) == {"", "data/", "releases/", "checkpoints/", "captured/", "runs/"}
    for prefix in ("", "data/", "releases/", "runs/"):
        assert "ExpirationInDays" not in rules[prefix]
    assert "NoncurrentVersionExpiration" not in rules["releases/"]
    assert rules["checkpoints/"]["ExpirationInDays"] == stack.stage.checkpoint_retention_days
    assert rules["captured/"]["ExpirationInDays"] == stack.stage.captured_data_retention_days


def test_keys_are_rotated(stack: Synthesised) -> None:
    keys = stack.properties("AWS::KMS::Key")
    assert len(keys) == 2
    assert all(key["EnableKeyRotation"] is True for key in keys)


def test_repositories_are_immutable_scanned_and_keep_what_was_released(
    stack: Synthesised,
) -> None:
    repositories = stack.properties("AWS::ECR::Repository")
    assert len(repositories) == len(Image)
    for repository in repositories:
        assert repository["ImageTagMutability"] == "IMMUTABLE"
        assert repository["ImageScanningConfiguration"] == {"ScanOnPush": True}
        first, *others = json.loads(repository["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
        assert first["rulePriority"] == 1
        assert first["selection"]["tagPrefixList"] == ["release-"]
        assert first["selection"]["countNumber"] == 9999  # which no repository reaches
        assert [rule["rulePriority"] for rule in others] == [2, 3]


def test_logs_are_written_by_aws_services_alone(stack: Synthesised) -> None:
    (policy,) = [
        one
        for one in stack.properties("AWS::S3::BucketPolicy")
        if "StorageLogs" in json.dumps(one["Bucket"])
    ]
    writers = {
        statement["Principal"].get("Service") or json.dumps(statement["Principal"]["AWS"])
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow" and "s3:PutObject" in listed(statement["Action"])
    }

    # S3's own, the network's, and the load balancers' of the region, which are an account of AWS's.
    assert {"logging.s3.amazonaws.com", "delivery.logs.amazonaws.com"} <= writers
    assert len(writers) <= 3
    assert not [one for one in writers if "*" in one]


def test_logs_are_kept_for_a_stated_time(stack: Synthesised) -> None:
    groups = stack.properties("AWS::Logs::LogGroup")
    assert {group["RetentionInDays"] for group in groups} == {stack.stage.log_retention_days}
