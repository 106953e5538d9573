"""AWS's rules for the request of a training job, each with its source.

API: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTrainingJob.html
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ClientError
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.sagemaker.exceptions import AWSValidationException

from tests.emulator.shapes import check_request

Request = Mapping[str, Any]
GetClient = Callable[[str], Any]


def has_local_storage(instance_type: str) -> bool:
    """Return whether an instance type has NVMe storage.

    API_ResourceConfig.html names three families as examples and refers to EC2's own list. That is
    `InstanceStorageSupported` in DescribeInstanceTypes, which moto has a copy of. The copy lacks p2
    and p3, which have none, and P6e-GB200, which has (AWS Machine Learning Blog, 2025: "up to 405
    TB of local NVMe SSD storage").
    """
    name = instance_type.removeprefix("ml.")
    if name.startswith("p6e-gb200."):
        return True
    return bool(INSTANCE_TYPES.get(name, {}).get("InstanceStorageSupported"))


def check_training_request(request: dict[str, Any], client: GetClient) -> None:
    """Raise what CreateTrainingJob raises for a request that it refuses.

    Args:
        request: The parameters.
        client: Returns a client of the account that the job runs in.
    """
    check_request("sagemaker", "CreateTrainingJob", request)
    for rule in RULES:
        rule(request, client)


def _role_is_assumable(request: Request, client: GetClient) -> None:
    """RoleArn: "an IAM role that SageMaker can assume to perform tasks on your behalf"."""
    arn = request["RoleArn"]
    try:
        role = client("iam").get_role(RoleName=arn.rpartition("/")[2])["Role"]
    except ClientError:
        raise AWSValidationException(f"Could not assume role {arn}. Role does not exist") from None
    if "sagemaker.amazonaws.com" not in json.dumps(role["AssumeRolePolicyDocument"]):
        reason = "Please ensure that the role exists and allows principal sagemaker.amazonaws.com"
        raise AWSValidationException(f"Could not assume role {arn}. {reason}")


def _image_exists(request: Request, client: GetClient) -> None:
    """TrainingImage: "The registry path of the Docker image that contains the training algorithm".

    "SageMaker supports both registry/repository[:tag] and registry/repository[@digest] image path
    formats" (API_AlgorithmSpecification.html).
    """
    image = request["AlgorithmSpecification"]["TrainingImage"]
    path, _, digest = image.partition("@")
    repository = path.partition("/")[2]
    name, _, tag = repository.partition(":")
    image_id = {"imageDigest": digest} if digest else {"imageTag": tag or "latest"}
    try:
        client("ecr").describe_images(repositoryName=name, imageIds=[image_id])
    except ClientError as error:
        reason = error.response["Error"]["Message"]
        raise AWSValidationException(
            f"Cannot find repository or image: {image}: {reason}"
        ) from None


def _inputs_exist(request: Request, client: GetClient) -> None:
    """InputDataConfig: "describes the input data and its location".

    The message is the one that users quote, as in aws/sagemaker-python-sdk#1072.
    """
    for channel in request.get("InputDataConfig", []):
        uri = channel["DataSource"]["S3DataSource"]["S3Uri"]
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        try:
            found = client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
        except ClientError:
            found = {}
        if not found.get("KeyCount"):
            raise AWSValidationException(
                f'No S3 objects found under S3 URL "{uri}" given in input data source. Please '
                "ensure that the bucket exists in the selected region, that objects exist under "
                f'that S3 prefix, and that the role "{request["RoleArn"]}" has "s3:ListBucket" '
                f'permissions on bucket "{bucket}".'
            )


def _output_is_writable(request: Request, client: GetClient) -> None:
    """OutputDataConfig: "the path to the S3 location where you want to store model artifacts"."""
    uri = request["OutputDataConfig"]["S3OutputPath"]
    bucket = uri.removeprefix("s3://").partition("/")[0]
    try:
        client("s3").head_bucket(Bucket=bucket)
    except ClientError:
        reason = "Please ensure that the bucket exists"
        raise AWSValidationException(f"Unable to access S3 output path {uri}. {reason}") from None


def _keys_exist(request: Request, client: GetClient) -> None:
    """VolumeKmsKeyId: "You can't request a VolumeKmsKeyId when using an instance type with local
    storage" (API_ResourceConfig.html); KmsKeyId: API_OutputDataConfig.html.
    """
    resources = request.get("ResourceConfig", {})
    for key in (resources.get("VolumeKmsKeyId"), request["OutputDataConfig"].get("KmsKeyId")):
        if not key:
            continue
        try:
            client("kms").describe_key(KeyId=key)
        except ClientError:
            raise AWSValidationException(f"KMS key {key} does not exist") from None
    if resources.get("VolumeKmsKeyId") and has_local_storage(resources["InstanceType"]):
        reason = "does not support VolumeKmsKeyId: it has local storage"
        raise AWSValidationException(f"Instance type {resources['InstanceType']} {reason}")


def _network_is_one_vpc(request: Request, client: GetClient) -> None:
    """SecurityGroupIds: "Specify the security groups for the VPC that is specified in the Subnets
    field" (API_VpcConfig.html).
    """
    if not (network := request.get("VpcConfig")):
        return
    ec2 = client("ec2")
    try:
        subnets = ec2.describe_subnets(SubnetIds=network["Subnets"])["Subnets"]
        groups = ec2.describe_security_groups(GroupIds=network["SecurityGroupIds"])
    except ClientError as error:
        raise AWSValidationException(error.response["Error"]["Message"]) from None
    vpcs = {subnet["VpcId"] for subnet in subnets}
    vpcs |= {group["VpcId"] for group in groups["SecurityGroups"]}
    if len(vpcs) != 1:
        raise AWSValidationException(
            f"Subnets and security groups must belong to one VPC, not {sorted(vpcs)}"
        )


def _spot_has_a_limit(request: Request, client: GetClient) -> None:
    """MaxWaitTimeInSeconds: "It must be equal to or greater than MaxRuntimeInSeconds"
    (API_StoppingCondition.html).
    """
    limits = request.get("StoppingCondition", {})
    spot = request.get("EnableManagedSpotTraining", False)
    if spot != ("MaxWaitTimeInSeconds" in limits):
        raise AWSValidationException(
            "MaxWaitTimeInSeconds must be set with EnableManagedSpotTraining, and only with it"
        )
    if spot and limits["MaxWaitTimeInSeconds"] < limits["MaxRuntimeInSeconds"]:
        raise AWSValidationException(
            "Invalid MaxWaitTimeInSeconds. It must be greater than or equal to MaxRuntimeInSeconds"
        )


RULES = (
    _role_is_assumable,
    _image_exists,
    _inputs_exist,
    _output_is_writable,
    _keys_exist,
    _network_is_one_vpc,
    _spot_has_a_limit,
)
