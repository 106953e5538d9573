"""What people and CI may do who train and deploy."""

from aws_cdk import aws_iam as iam

from contract.names import METRIC_NAMESPACE, BucketPrefix
from contract.settings.stage import Stage
from infra.base.statements import ENDPOINTS, JOBS, DataAccess, log_arn, sagemaker_arn
from infra.fargate import PULL
from infra.policy import ANYTHING, Statement, arn

PUSH = (
    "ecr:CompleteLayerUpload",
    "ecr:DescribeImages",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:UploadLayerPart",
)


def deploying(
    stage: Stage, kept: DataAccess, training: iam.IRole, serving: iam.IRole
) -> list[Statement]:
    """Return what people and CI may do who train and deploy; the two roles are theirs to pass."""
    ours = [sagemaker_arn(kind, f"{stage.prefix}-*") for kind in ("model", "training-job")]
    configurations = sagemaker_arn("endpoint-config", f"{stage.prefix}-*")
    endpoint = sagemaker_arn("endpoint", stage.endpoint.lower())
    return [
        Statement(
            "DeployModels",
            "each deployment makes a model, a configuration and each training a job, all of "
            "whose names begin with the stage's",
            [
                *("sagemaker:AddTags", "sagemaker:CreateModel", "sagemaker:DeleteModel"),
                *("sagemaker:DescribeModel", "sagemaker:CreateTrainingJob"),
                *("sagemaker:DescribeTrainingJob", "sagemaker:StopTrainingJob"),
                *("sagemaker:CreateEndpointConfig", "sagemaker:DeleteEndpointConfig"),
                *("sagemaker:DescribeEndpointConfig", "sagemaker:ListTags"),
            ],
            [*ours, configurations],
        ),
        Statement(
            "DeployTheEndpoint",
            "one endpoint, and no other",
            [
                *("sagemaker:AddTags", "sagemaker:CreateEndpoint", "sagemaker:DeleteEndpoint"),
                *("sagemaker:DescribeEndpoint", "sagemaker:InvokeEndpoint"),
                *("sagemaker:ListTags", "sagemaker:UpdateEndpoint"),
                "sagemaker:UpdateEndpointWeightsAndCapacities",
            ],
            [endpoint, configurations],
        ),
        Statement(
            "SeeWhatThereIs",
            "AWS knows no resource for listing, for alarms as a whole, or for a login to ECR",
            [
                *("cloudwatch:DescribeAlarms", "ecr:GetAuthorizationToken"),
                *("sagemaker:ListModels", "sagemaker:ListTrainingJobs"),
                "sagemaker:ListEndpointConfigs",
            ],
            [ANYTHING],
        ),
        *(
            Statement(
                f"PassThe{name}Role",
                "to SageMaker alone, which then runs as that role",
                ["iam:PassRole"],
                [passed.role_arn],
                {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
            )
            for name, passed in (("Training", training), ("Serving", serving))
        ),
        Statement(
            "ReadAndWriteReleases",
            "data, releases and what was captured of requests lie below these prefixes",
            ["s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"],
            kept.objects(BucketPrefix.DATA, BucketPrefix.RELEASES),
        ),
        Statement(
            "ReadCapturedData",
            "to look at what an endpoint was asked",
            ["s3:GetObject"],
            kept.objects(BucketPrefix.CAPTURED),
        ),
        kept.look_into(BucketPrefix.DATA, BucketPrefix.RELEASES, BucketPrefix.CAPTURED),
        kept.use_key(),
        kept.encrypt_volumes(),
        Statement(
            "PushImages",
            "the stage's repositories, and no others",
            [*PULL, *PUSH],
            [one.repository_arn for one in kept.repositories.values()],
        ),
        Statement(
            "ReadLogs",
            "SageMaker names its log groups by job and by endpoint",
            ["logs:FilterLogEvents", "logs:GetLogEvents", "logs:DescribeLogStreams"],
            [log_arn(JOBS), log_arn(f"{ENDPOINTS}/{stage.endpoint}")],
        ),
        Statement(
            "CheckReleases",
            "answers that a release didn't predict are counted, in one namespace; CloudWatch "
            "knows no resource for metrics",
            ["cloudwatch:PutMetricData"],
            [ANYTHING],
            {"StringEquals": {"cloudwatch:namespace": METRIC_NAMESPACE}},
        ),
        Statement(
            "ReadOutputs",
            "the stage's stacks say what everything is called",
            ["cloudformation:DescribeStacks"],
            [arn("cloudformation", f"stack/{stage.prefix}-*/*")],
        ),
    ]
