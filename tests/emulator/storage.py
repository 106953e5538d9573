"""Keys, buckets, repositories, secrets and parameters."""

import json

from moto.core.common_models import CloudFormationModel

from tests.emulator.registry import registry_address
from tests.emulator.resource import Properties, Resource


class Key(Resource, CloudFormationModel):
    """Replaces moto's own, which fails on a key with tags and ignores EnableKeyRotation."""

    type = "AWS::KMS::Key"
    attributes = ("Arn", "KeyId")

    def create_or_update(self) -> None:
        client = self.client("kms")
        policy = json.dumps(self.properties["KeyPolicy"])
        if not self.exists:
            key = client.create_key(
                Policy=policy,
                Description=self.properties.get("Description", ""),
                Tags=[
                    {"TagKey": tag["Key"], "TagValue": tag["Value"]}
                    for tag in self.properties.get("Tags", [])
                ],
            )["KeyMetadata"]
            self.physical_resource_id, self.arn = key["KeyId"], key["Arn"]
        client.put_key_policy(KeyId=self.arn, PolicyName="default", Policy=policy)
        if self.properties.get("EnableKeyRotation"):
            client.enable_key_rotation(KeyId=self.arn)

    def delete_resource(self) -> None:
        self.client("kms").schedule_key_deletion(
            KeyId=self.physical_resource_id, PendingWindowInDays=7
        )

    def get_attribute(self, name: str) -> str:
        return self.arn if name == "Arn" else self.physical_resource_id


class BucketPolicy(Resource, CloudFormationModel):
    type = "AWS::S3::BucketPolicy"

    def create_or_update(self) -> None:
        bucket = self.properties["Bucket"]
        policy = json.dumps(self.properties["PolicyDocument"])
        self.client("s3").put_bucket_policy(Bucket=bucket, Policy=policy)

    def delete_resource(self) -> None:
        self.client("s3").delete_bucket_policy(Bucket=self.properties["Bucket"])


class Secret(Resource, CloudFormationModel):
    type = "AWS::SecretsManager::Secret"

    def create_or_update(self) -> None:
        client = self.client("secretsmanager")
        if self.exists:
            return
        options = self.properties.get("GenerateSecretString", {})
        password = client.get_random_password(
            PasswordLength=options.get("PasswordLength", 32),
            ExcludePunctuation=options.get("ExcludePunctuation", False),
        )["RandomPassword"]
        secret = client.create_secret(
            Name=self.properties.get("Name") or self.physical_resource_id,
            Description=self.properties.get("Description", ""),
            KmsKeyId=self.properties.get("KmsKeyId", "alias/aws/secretsmanager"),
            SecretString=password,
        )
        self.physical_resource_id = secret["ARN"]

    def delete_resource(self) -> None:
        self.client("secretsmanager").delete_secret(
            SecretId=self.physical_resource_id, ForceDeleteWithoutRecovery=True
        )

    def get_attribute(self, name: str) -> str:
        return self.physical_resource_id


class Parameter(Resource, CloudFormationModel):
    """Replaces moto's own, which accepts tags only as a list."""

    type = "AWS::SSM::Parameter"

    def create_or_update(self) -> None:
        self.physical_resource_id = self.properties["Name"]
        self.client("ssm").put_parameter(
            Name=self.properties["Name"],
            Type=self.properties["Type"],
            Value=self.properties["Value"],
            Description=self.properties.get("Description", ""),
            Overwrite=self.exists,
        )

    def delete_resource(self) -> None:
        self.client("ssm").delete_parameter(Name=self.physical_resource_id)


class Bucket(Resource, CloudFormationModel):
    """Replaces moto's own, which ignores most properties."""

    type = "AWS::S3::Bucket"
    attributes = ("Arn", "DomainName", "RegionalDomainName", "WebsiteURL")

    def create_or_update(self) -> None:
        properties, client = self.properties, self.client("s3")
        name = properties.get("BucketName", self.physical_resource_id).lower()
        self.physical_resource_id = name
        if not self.exists:
            client.create_bucket(Bucket=name)
        if encryption := properties.get("BucketEncryption"):
            rules = [
                _encryption_rule(rule) for rule in encryption["ServerSideEncryptionConfiguration"]
            ]
            client.put_bucket_encryption(
                Bucket=name, ServerSideEncryptionConfiguration={"Rules": rules}
            )
        if block := properties.get("PublicAccessBlockConfiguration"):
            client.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=block)
        if versioning := properties.get("VersioningConfiguration"):
            client.put_bucket_versioning(Bucket=name, VersioningConfiguration=versioning)
        if lifecycle := properties.get("LifecycleConfiguration"):
            rules = [_lifecycle_rule(rule) for rule in lifecycle["Rules"]]
            client.put_bucket_lifecycle_configuration(
                Bucket=name, LifecycleConfiguration={"Rules": rules}
            )

    def delete_resource(self) -> None:
        self.client("s3").delete_bucket(Bucket=self.physical_resource_id)

    def get_attribute(self, name: str) -> str:
        return {
            "Arn": f"arn:aws:s3:::{self.physical_resource_id}",
            "RegionalDomainName": f"{self.physical_resource_id}.s3.{self.region}.amazonaws.com",
        }.get(name, f"{self.physical_resource_id}.s3.amazonaws.com")


def _encryption_rule(rule: Properties) -> Properties:
    """Convert an encryption rule from CloudFormation's format to that of S3's API."""
    return {
        "ApplyServerSideEncryptionByDefault": rule["ServerSideEncryptionByDefault"],
        "BucketKeyEnabled": rule.get("BucketKeyEnabled", False),
    }


def _lifecycle_rule(properties: Properties) -> Properties:
    """Convert a lifecycle rule from CloudFormation's format to that of S3's API."""
    rule: Properties = {
        "ID": properties["Id"],
        "Status": properties["Status"],
        "Filter": {"Prefix": properties.get("Prefix", "")},
    }
    if days := properties.get("ExpirationInDays"):
        rule["Expiration"] = {"Days": days}
    for name in ("NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload"):
        if value := properties.get(name):
            rule[name] = value
    if transitions := properties.get("Transitions"):
        rule["Transitions"] = [
            {"Days": transition["TransitionInDays"], "StorageClass": transition["StorageClass"]}
            for transition in transitions
        ]
    return rule


class Repository(Resource, CloudFormationModel):
    """Replaces moto's own, which ignores image scanning and encryption."""

    type = "AWS::ECR::Repository"
    attributes = ("Arn", "RepositoryUri")

    def create_or_update(self) -> None:
        properties, client = self.properties, self.client("ecr")
        name = properties.get("RepositoryName", self.physical_resource_id)
        self.physical_resource_id = name
        scanning = properties.get("ImageScanningConfiguration", {})
        if not self.exists:
            self._create(name)
        client.put_image_tag_mutability(
            repositoryName=name, imageTagMutability=properties.get("ImageTagMutability", "MUTABLE")
        )
        client.put_image_scanning_configuration(
            repositoryName=name,
            imageScanningConfiguration={"scanOnPush": scanning.get("ScanOnPush", False)},
        )
        if policy := properties.get("LifecyclePolicy"):
            client.put_lifecycle_policy(
                repositoryName=name, lifecyclePolicyText=policy["LifecyclePolicyText"]
            )

    def _create(self, name: str) -> None:
        encryption = self.properties.get("EncryptionConfiguration", {"EncryptionType": "AES256"})
        repository = self.client("ecr").create_repository(
            repositoryName=name,
            encryptionConfiguration={
                key[0].lower() + key[1:]: value for key, value in encryption.items()
            },
        )["repository"]
        self.arn, self.uri = repository["repositoryArn"], repository["repositoryUri"]
        if registry_address():
            self.uri = f"{registry_address()}/{name}"

    def delete_resource(self) -> None:
        force = self.properties.get("EmptyOnDelete", False)
        self.client("ecr").delete_repository(repositoryName=self.physical_resource_id, force=force)

    def get_attribute(self, name: str) -> str:
        return self.arn if name == "Arn" else self.uri
