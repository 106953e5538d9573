"""Storage in the templates: private, encrypted, and with a defined retention."""

import json

from contract.names import NO_IMAGE, Image, image_digest_parameter, image_platform
from contract.settings.stage import Platform
from tests.infra.conftest import StageTemplates, as_list


def test_buckets_are_private_encrypted_versioned_and_retained_in_production(
    templates: StageTemplates,
) -> None:
    buckets = list(templates.resources("AWS::S3::Bucket"))
    assert len(buckets) == 2
    for _, bucket in buckets:
        properties = bucket["Properties"]
        assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
        assert len(properties["PublicAccessBlockConfiguration"]) == 4
        assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
        assert properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert properties["LifecycleConfiguration"]["Rules"]
        expected = "Retain" if templates.stage.production else "Delete"
        assert bucket["DeletionPolicy"] == bucket["UpdateReplacePolicy"] == expected


def test_buckets_deny_access_without_tls(templates: StageTemplates) -> None:
    policies = templates.properties("AWS::S3::BucketPolicy")
    assert len(policies) == 2
    for policy in policies:
        denied = [
            statement["Condition"]
            for statement in policy["PolicyDocument"]["Statement"]
            if statement["Effect"] == "Deny" and statement["Principal"] == {"AWS": "*"}
        ]
        assert {"Bool": {"aws:SecureTransport": "false"}} in denied


def test_releases_and_runs_never_expire(templates: StageTemplates) -> None:
    rules = {
        rule.get("Prefix", ""): rule
        for bucket in templates.properties("AWS::S3::Bucket")
        for rule in bucket["LifecycleConfiguration"]["Rules"]
        if "releases" in json.dumps(bucket["LifecycleConfiguration"])
    }

    assert set(rules) == {"", "data/", "releases/", "jobs/", "captured/", "runs/"}
    for prefix in ("", "data/", "releases/", "runs/"):
        assert "ExpirationInDays" not in rules[prefix]
    assert "NoncurrentVersionExpiration" not in rules["releases/"]
    stage = templates.stage
    assert rules["jobs/"]["ExpirationInDays"] == stage.job_retention_days
    assert rules["captured/"]["ExpirationInDays"] == stage.captured_data_retention_days


def test_keys_are_rotated(templates: StageTemplates) -> None:
    keys = templates.properties("AWS::KMS::Key")
    assert len(keys) == 2
    assert all(key["EnableKeyRotation"] is True for key in keys)


def test_repositories_are_immutable_scanned_and_keep_released_images(
    templates: StageTemplates,
) -> None:
    repositories = templates.properties("AWS::ECR::Repository")
    assert len(repositories) == len(Image)
    for repository in repositories:
        assert repository["ImageTagMutability"] == "IMMUTABLE"
        assert repository["ImageScanningConfiguration"] == {"ScanOnPush": True}
        first, *others = json.loads(repository["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
        assert first["rulePriority"] == 1
        assert first["selection"]["tagPrefixList"] == ["release-"]
        assert first["selection"]["countNumber"] == 9999  # more than a repository will ever hold
        untagged, rest = others
        assert [rule["rulePriority"] for rule in others] == [2, 3]
        assert untagged["selection"]["tagStatus"] == "untagged"
        # Counts released images as well, which have a content- tag too; so a rule for that tag
        # would not count otherwise.
        assert rest["selection"] == {
            "tagStatus": "any",
            "countType": "imageCountMoreThan",
            "countNumber": 20,
        }


def test_each_image_has_a_parameter_for_its_digest(templates: StageTemplates) -> None:
    parameters = templates.properties("AWS::SSM::Parameter")

    assert {parameter["Name"]: parameter["Value"] for parameter in parameters} == {
        image_digest_parameter(templates.stage, image): NO_IMAGE for image in Image
    }


def test_tasks_run_on_the_platform_that_images_are_built_for(templates: StageTemplates) -> None:
    architectures = {"X86_64": Platform.AMD64, "ARM64": Platform.ARM64}
    for task in templates.properties("AWS::ECS::TaskDefinition"):
        platform = task["RuntimePlatform"]
        assert platform["OperatingSystemFamily"] == "LINUX"
        built_for = image_platform(templates.stage, Image.MLFLOW)
        assert architectures[platform["CpuArchitecture"]] == built_for


def test_only_aws_services_write_to_the_log_bucket(templates: StageTemplates) -> None:
    (policy,) = [
        bucket_policy
        for bucket_policy in templates.properties("AWS::S3::BucketPolicy")
        if "BucketsLogs" in json.dumps(bucket_policy["Bucket"])
    ]
    writers = {
        statement["Principal"].get("Service") or json.dumps(statement["Principal"]["AWS"])
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow" and "s3:PutObject" in as_list(statement["Action"])
    }

    # S3's access logs, the flow logs, and the region's load balancers, which use an AWS account.
    assert {"logging.s3.amazonaws.com", "delivery.logs.amazonaws.com"} <= writers
    assert len(writers) <= 3
    assert not [writer for writer in writers if "*" in writer]


def test_log_groups_have_the_configured_retention(templates: StageTemplates) -> None:
    groups = templates.properties("AWS::Logs::LogGroup")
    assert {group["RetentionInDays"] for group in groups} == {templates.stage.log_retention_days}
