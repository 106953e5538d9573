"""The permissions of the deploying role: users and CI that train and deploy models."""

from aws_cdk import aws_iam as iam

from contract.names import (
    METRIC_NAMESPACE,
    TRAINING_LOG_GROUP,
    BucketPrefix,
    EndpointAlarm,
    Image,
    alarm_name,
    image_digest_parameter,
    training_job_prefix,
)
from contract.settings.sections import MAX_TRAINING_HOURS
from contract.settings.stage import Stage
from infra.base.network import Network
from infra.base.statements import (
    DataAccess,
    endpoint_log_group,
    log_group_arn,
    log_stream_arn,
    sagemaker_arn,
)
from infra.fargate import LOG_IN_TO_ECR, PULL_IMAGE_ACTIONS
from infra.policy import ANY_RESOURCE, Statement, arn

PUSH_IMAGE_ACTIONS = (
    "ecr:CompleteLayerUpload",
    "ecr:DescribeImages",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:UploadLayerPart",
)


def deploying_statements(
    stage: Stage, data: DataAccess, network: Network, training: iam.IRole, serving: iam.IRole
) -> list[Statement]:
    """Return the permissions of the deploying role.

    Args:
        stage: Whose endpoint, models and training jobs the role manages.
        data: The stage's bucket, key and repositories.
        network: Where its training jobs run.
        training: The role that it passes to training jobs.
        serving: The role that it passes to models.
    """
    return [
        *_run_training_jobs(stage, data, network),
        *_manage_sagemaker(stage),
        _pass_role("PassTrainingRole", training),
        _pass_role("PassServingRole", serving),
        *_access_data(data),
        *_use_images(stage, data),
        *_observe(stage),
    ]


def _run_training_jobs(stage: Stage, data: DataAccess, network: Network) -> list[Statement]:
    jobs = sagemaker_arn("training-job", f"{training_job_prefix(stage)}*")
    return [
        Statement(
            "CreateTrainingJobs",
            "only in the private network, with the data key, on the stage's instance type, and "
            "with a time limit; names start with the stage's prefix",
            ["sagemaker:CreateTrainingJob"],
            [jobs],
            _training_job_conditions(stage, data, network),
        ),
        Statement(
            "ManageTrainingJobs",
            "only the stage's own jobs; CreateTrainingJob with tags needs AddTags as well",
            [
                "sagemaker:AddTags",
                "sagemaker:DescribeTrainingJob",
                "sagemaker:StopTrainingJob",
            ],
            [jobs],
        ),
    ]


def _training_job_conditions(
    stage: Stage, data: DataAccess, network: Network
) -> dict[str, dict[str, object]]:
    """Return what a request for a training job has to contain.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsagemaker.html
    """
    keys = {"sagemaker:OutputKmsKey": data.key.key_arn}
    if not stage.training_has_local_storage:
        keys["sagemaker:VolumeKmsKey"] = data.key.key_arn
    lists = {
        "sagemaker:InstanceTypes": [stage.training_instance_type],
        "sagemaker:VpcSecurityGroupIds": [network.training_sg.security_group_id],
        "sagemaker:VpcSubnets": network.private_subnet_ids,
    }
    seconds = MAX_TRAINING_HOURS * 3600
    return {
        "ArnEquals": dict(keys),
        # ForAllValues also matches a request without the key, which Null excludes.
        "ForAllValues:StringEquals": dict(lists),
        "Null": dict.fromkeys(lists, "false"),
        "NumericLessThanEquals": {"sagemaker:MaxRuntimeInSeconds": str(seconds)},
        # No warm pool, whose instances are billed after the job has ended. A request without one
        # doesn't have this key:
        # https://docs.aws.amazon.com/sagemaker/latest/dg/train-warm-pools-how-to-use.html
        "NumericLessThanEqualsIfExists": {"sagemaker:KeepAlivePeriod": "0"},
    }


def _manage_sagemaker(stage: Stage) -> list[Statement]:
    models, configurations = (
        sagemaker_arn(resource_type, f"{stage.prefix}-*")
        for resource_type in ("model", "endpoint-config")
    )
    endpoint = sagemaker_arn("endpoint", stage.endpoint.lower())
    return [
        Statement(
            "ManageModels",
            "each deployment creates a model and an endpoint configuration; their names start with "
            "the stage's prefix",
            [
                "sagemaker:AddTags",
                "sagemaker:CreateModel",
                "sagemaker:DeleteModel",
                "sagemaker:DescribeModel",
                "sagemaker:CreateEndpointConfig",
                "sagemaker:DeleteEndpointConfig",
                "sagemaker:DescribeEndpointConfig",
                "sagemaker:ListTags",
            ],
            [models, configurations],
        ),
        Statement(
            "ManageEndpoint",
            "only the stage's endpoint",
            [
                "sagemaker:AddTags",
                "sagemaker:CreateEndpoint",
                "sagemaker:DeleteEndpoint",
                "sagemaker:DescribeEndpoint",
                "sagemaker:InvokeEndpoint",
                "sagemaker:ListTags",
                "sagemaker:UpdateEndpoint",
                "sagemaker:UpdateEndpointWeightsAndCapacities",
            ],
            [endpoint, configurations],
        ),
        Statement(
            "ListSageMaker",
            "listing does not support resource-level permissions",
            [
                "sagemaker:ListModels",
                "sagemaker:ListTrainingJobs",
                "sagemaker:ListEndpointConfigs",
            ],
            [ANY_RESOURCE],
        ),
    ]


def _pass_role(sid: str, role: iam.IRole) -> Statement:
    return Statement(
        sid,
        "only to SageMaker, which then runs with that role",
        ["iam:PassRole"],
        [role.role_arn],
        {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
    )


def _access_data(data: DataAccess) -> list[Statement]:
    return [
        Statement(
            "ReadAndWriteDataJobsAndReleases",
            "tables, settings and outputs of jobs, and releases are stored below these prefixes",
            ["s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"],
            data.object_arns(BucketPrefix.DATA, BucketPrefix.JOBS, BucketPrefix.RELEASES),
        ),
        Statement(
            "ReadCapturedData",
            "to inspect the requests that an endpoint received",
            ["s3:GetObject"],
            data.object_arns(BucketPrefix.CAPTURED),
        ),
        data.list_prefixes(
            BucketPrefix.DATA, BucketPrefix.JOBS, BucketPrefix.RELEASES, BucketPrefix.CAPTURED
        ),
        data.use_key(),
        # https://docs.aws.amazon.com/sagemaker/latest/dg/api-permissions-reference.html; of the
        # caller of CreateTrainingJob only if the job's role didn't have this permission.
        data.encrypt_volumes(
            "SageMaker requires it of the caller of CreateEndpoint where the endpoint's "
            "configuration names a key"
        ),
    ]


def _use_images(stage: Stage, data: DataAccess) -> list[Statement]:
    parameters = {
        image: arn("ssm", f"parameter{image_digest_parameter(stage, image)}") for image in Image
    }
    return [
        Statement(
            "PushImages",
            # Pulling as well: an image is read to tag it as released, and to copy it.
            "only the stage's repositories",
            [*PULL_IMAGE_ACTIONS, *PUSH_IMAGE_ACTIONS],
            [repository.repository_arn for repository in data.repositories.values()],
        ),
        LOG_IN_TO_ECR,
        Statement(
            "ReadImageDigests",
            "a push reuses the layers of the image that was recorded last",
            ["ssm:GetParameter"],
            list(parameters.values()),
        ),
        Statement(
            "RecordImageDigests",
            "later deployments use the images that were pushed last; a new digest of MLflow's "
            "image would deploy it, which is left to make deploy",
            ["ssm:PutParameter"],
            [parameters[image] for image in (Image.SERVE, Image.TRAIN)],
        ),
    ]


def _observe(stage: Stage) -> list[Statement]:
    return [
        Statement(
            "DescribeRollbackAlarms",
            # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html
            "a permission narrower than * shows no composite alarms, and none of these is one",
            ["cloudwatch:DescribeAlarms"],
            [arn("cloudwatch", f"alarm:{alarm_name(stage, alarm)}") for alarm in EndpointAlarm],
        ),
        Statement(
            "FindTrainingLogs",
            "all training jobs of an account share one log group, and listing its streams can't be "
            "limited to some of them",
            ["logs:DescribeLogStreams"],
            [log_group_arn(TRAINING_LOG_GROUP)],
        ),
        Statement(
            "ReadTrainingLogs",
            # FilterLogEvents would be granted on the whole log group only.
            "only the streams of the stage's own jobs, whose names start with the job's name",
            ["logs:GetLogEvents"],
            [log_stream_arn(TRAINING_LOG_GROUP, training_job_prefix(stage))],
        ),
        Statement(
            "ReadEndpointLogs",
            "SageMaker names the log group by the endpoint",
            ["logs:DescribeLogStreams", "logs:FilterLogEvents", "logs:GetLogEvents"],
            [log_group_arn(endpoint_log_group(stage))],
        ),
        Statement(
            "WriteReleaseCheckMetric",
            "responses that differ from the release's predictions are counted in one namespace; "
            "cloudwatch:PutMetricData does not support resource-level permissions",
            ["cloudwatch:PutMetricData"],
            [ANY_RESOURCE],
            {"StringEquals": {"cloudwatch:namespace": METRIC_NAMESPACE}},
        ),
        Statement(
            "ReadStackOutputs",
            "the outputs of the stage's stacks name its resources",
            ["cloudformation:DescribeStacks"],
            [arn("cloudformation", f"stack/{stage.prefix}-*/*")],
        ),
    ]
