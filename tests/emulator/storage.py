"""Keys, buckets, repositories, secrets and parameters."""

import json

from moto.core.common_models import CloudFormationModel

from tests.emulator.registry import REGISTRY
from tests.emulator.resource import Properties, Resource


class Key(Resource, CloudFormationModel):
    """moto has one, which fails where the key has tags, and forgets that it is to be rotated."""

    type = "AWS::KMS::Key"
    attributes = ("Arn", "KeyId")

    def make(self) -> None:
        keys = self.client("kms")
        policy = json.dumps(self.properties["KeyPolicy"])
        if not self.made:
            made = keys.create_key(
                Policy=policy,
                Description=self.properties.get("Description", ""),
                Tags=[
                    {"TagKey": tag["Key"], "TagValue": tag["Value"]}
                    for tag in self.properties.get("Tags", [])
                ],
            )["KeyMetadata"]
            self.physical_resource_id, self.arn = made["KeyId"], made["Arn"]
        keys.put_key_policy(KeyId=self.arn, PolicyName="default", Policy=policy)
        if self.properties.get("EnableKeyRotation"):
            keys.enable_key_rotation(KeyId=self.arn)

    def unmake(self) -> None:
        self.client("kms").schedule_key_deletion(
            KeyId=self.physical_resource_id, PendingWindowInDays=7
        )

    def attribute(self, name: str) -> str:
        return self.arn if name == "Arn" else self.physical_resource_id


class BucketPolicy(Resource, CloudFormationModel):
    type = "AWS::S3::BucketPolicy"

    def make(self) -> None:
        bucket = self.properties["Bucket"]
        policy = json.dumps(self.properties["PolicyDocument"])
        self.client("s3").put_bucket_policy(Bucket=bucket, Policy=policy)

    def unmake(self) -> None:
        self.client("s3").delete_bucket_policy(Bucket=self.properties["Bucket"])


class Secret(Resource, CloudFormationModel):
    type = "AWS::SecretsManager::Secret"

    def make(self) -> None:
        secrets = self.client("secretsmanager")
        if self.made:
            return
        wish = self.properties.get("GenerateSecretString", {})
        password = secrets.get_random_password(
            PasswordLength=wish.get("PasswordLength", 32),
            ExcludePunctuation=wish.get("ExcludePunctuation", False),
        )["RandomPassword"]
        made = secrets.create_secret(
            Name=self.properties.get("Name") or self.physical_resource_id,
            Description=self.properties.get("Description", ""),
            KmsKeyId=self.properties.get("KmsKeyId", "alias/aws/secretsmanager"),
            SecretString=password,
        )
        self.physical_resource_id = made["ARN"]

    def unmake(self) -> None:
        self.client("secretsmanager").delete_secret(
            SecretId=self.physical_resource_id, ForceDeleteWithoutRecovery=True
        )

    def attribute(self, name: str) -> str:
        return self.physical_resource_id


class Parameter(Resource, CloudFormationModel):
    """moto has one, which takes tags as a list alone."""

    type = "AWS::SSM::Parameter"

    def make(self) -> None:
        self.physical_resource_id = self.properties["Name"]
        self.client("ssm").put_parameter(
            Name=self.properties["Name"],
            Type=self.properties["Type"],
            Value=self.properties["Value"],
            Description=self.properties.get("Description", ""),
            Overwrite=self.made,
        )

    def unmake(self) -> None:
        self.client("ssm").delete_parameter(Name=self.physical_resource_id)


class Bucket(Resource, CloudFormationModel):
    """moto has one, which keeps little of what it is told."""

    type = "AWS::S3::Bucket"
    attributes = ("Arn", "DomainName", "RegionalDomainName", "WebsiteURL")

    def make(self) -> None:
        wish, s3 = self.properties, self.client("s3")
        self.physical_resource_id = name = wish.get("BucketName", self.physical_resource_id).lower()
        if not self.made:
            s3.create_bucket(Bucket=name)
        if encryption := wish.get("BucketEncryption"):
            rules = [
                {
                    "ApplyServerSideEncryptionByDefault": rule["ServerSideEncryptionByDefault"],
                    "BucketKeyEnabled": rule.get("BucketKeyEnabled", False),
                }
                for rule in encryption["ServerSideEncryptionConfiguration"]
            ]
            s3.put_bucket_encryption(
                Bucket=name, ServerSideEncryptionConfiguration={"Rules": rules}
            )
        if block := wish.get("PublicAccessBlockConfiguration"):
            s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=block)
        if versioning := wish.get("VersioningConfiguration"):
            s3.put_bucket_versioning(Bucket=name, VersioningConfiguration=versioning)
        if lifecycle := wish.get("LifecycleConfiguration"):
            s3.put_bucket_lifecycle_configuration(
                Bucket=name,
                LifecycleConfiguration={"Rules": [_rule(rule) for rule in lifecycle["Rules"]]},
            )

    def unmake(self) -> None:
        self.client("s3").delete_bucket(Bucket=self.physical_resource_id)

    def attribute(self, name: str) -> str:
        return {
            "Arn": f"arn:aws:s3:::{self.physical_resource_id}",
            "RegionalDomainName": f"{self.physical_resource_id}.s3.{self.region}.amazonaws.com",
        }.get(name, f"{self.physical_resource_id}.s3.amazonaws.com")


def _rule(wish: Properties) -> Properties:
    """Return a lifecycle rule as S3's API has it."""
    rule: Properties = {"ID": wish["Id"], "Status": wish["Status"], "Filter": {"Prefix": ""}}
    if prefix := wish.get("Prefix"):
        rule["Filter"] = {"Prefix": prefix}
    if days := wish.get("ExpirationInDays"):
        rule["Expiration"] = {"Days": days}
    if old := wish.get("NoncurrentVersionExpiration"):
        rule["NoncurrentVersionExpiration"] = old
    if unfinished := wish.get("AbortIncompleteMultipartUpload"):
        rule["AbortIncompleteMultipartUpload"] = unfinished
    if transitions := wish.get("Transitions"):
        rule["Transitions"] = [
            {"Days": one["TransitionInDays"], "StorageClass": one["StorageClass"]}
            for one in transitions
        ]
    return rule


class Repository(Resource, CloudFormationModel):
    """moto has one, which forgets scanning and encryption."""

    type = "AWS::ECR::Repository"
    attributes = ("Arn", "RepositoryUri")

    def make(self) -> None:
        wish, ecr = self.properties, self.client("ecr")
        self.physical_resource_id = name = wish.get("RepositoryName", self.physical_resource_id)
        scan = {"scanOnPush": wish.get("ImageScanningConfiguration", {}).get("ScanOnPush", False)}
        mutability = wish.get("ImageTagMutability", "MUTABLE")
        if not self.made:
            encryption = wish.get("EncryptionConfiguration", {"EncryptionType": "AES256"})
            made = ecr.create_repository(
                repositoryName=name,
                encryptionConfiguration={
                    key[0].lower() + key[1:]: value for key, value in encryption.items()
                },
            )["repository"]
            self.arn, self.uri = made["repositoryArn"], made["repositoryUri"]
            if REGISTRY:
                self.uri = f"{REGISTRY}/{name}"
        ecr.put_image_tag_mutability(repositoryName=name, imageTagMutability=mutability)
        ecr.put_image_scanning_configuration(repositoryName=name, imageScanningConfiguration=scan)
        if policy := wish.get("LifecyclePolicy"):
            ecr.put_lifecycle_policy(
                repositoryName=name, lifecyclePolicyText=policy["LifecyclePolicyText"]
            )

    def unmake(self) -> None:
        force = self.properties.get("EmptyOnDelete", False)
        self.client("ecr").delete_repository(repositoryName=self.physical_resource_id, force=force)

    def attribute(self, name: str) -> str:
        return self.arn if name == "Arn" else self.uri
