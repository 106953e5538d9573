"""Who may do what: training, serving, tracking, deploying and invoking have a role each."""

from collections.abc import Mapping

from aws_cdk import Aws
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from contract.names import METRICS, Image, Prefix
from contract.names import Role as Name
from contract.stage import Stage
from infra.rights import ANYTHING, Right, arn, role
from infra.tasks import PULL, for_tasks

PUSH = (
    "ecr:CompleteLayerUpload",
    "ecr:DescribeImages",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:UploadLayerPart",
)
READ_KEY = ("kms:Decrypt", "kms:DescribeKey")
USE_KEY = (*READ_KEY, "kms:GenerateDataKey*")
JOBS, ENDPOINTS = "/aws/sagemaker/TrainingJobs", "/aws/sagemaker/Endpoints"
"""Where SageMaker keeps the logs of each."""


class Roles(Construct):
    """The roles, and each right with its reason."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        stage: Stage,
        *,
        bucket: s3.IBucket,
        key: kms.IKey,
        repositories: Mapping[Image, ecr.IRepository],
        vpc: ec2.IVpc,
        training_password: str,
    ) -> None:
        """Build them.

        Args:
            scope: The stack.
            name: Within the stack.
            stage: Names the endpoint.
            bucket: Of artifacts.
            key: Of the bucket and of all volumes.
            repositories: Of the images.
            vpc: Where trainings run.
            training_password: ARN of the secret of the training's MLflow user.
        """
        super().__init__(scope, name)
        self._stage, self._bucket, self._key = stage, bucket, key
        self._repositories, self._vpc = repositories, vpc
        training = role(
            self,
            "Training",
            f"Training jobs of {stage.prefix}: reads data, tracks runs, writes releases",
            _sagemaker(),
            self._training(training_password),
        )
        serving = role(
            self,
            "Serving",
            f"Endpoints of {stage.prefix}: reads releases, and writes captured data",
            _sagemaker(),
            self._serving(),
        )
        self.of = {
            Name.TRAINING: training,
            Name.SERVING: serving,
            Name.TRACKING: role(
                self,
                "Tracking",
                f"The MLflow server of {stage.prefix}: keeps the artifacts of runs",
                for_tasks(),
                self._tracking(),
            ),
            Name.DEPLOYING: role(
                self,
                "Deploying",
                f"People and CI who train and deploy to {stage.prefix}",
                iam.AccountRootPrincipal(),
                self._deploying(training, serving),
            ),
            Name.INVOKING: role(
                self,
                "Invoking",
                f"Applications that ask {stage.endpoint} for predictions",
                iam.AccountRootPrincipal(),
                self._invoking(),
            ),
        }

    def _training(self, password: str) -> list[Right]:
        return [
            Right(
                "ReadData",
                "the tables, a checkpoint to go on from, and the releases to compare with are "
                "whatever lies below these prefixes",
                ["s3:GetObject"],
                self._objects(Prefix.DATA, Prefix.CHECKPOINTS, Prefix.RELEASES),
            ),
            Right(
                "WriteReleases",
                "releases and checkpoints get new names with each training; nothing is deleted",
                ["s3:AbortMultipartUpload", "s3:PutObject"],
                self._objects(Prefix.RELEASES, Prefix.CHECKPOINTS),
            ),
            self._list(Prefix.DATA, Prefix.RELEASES, Prefix.CHECKPOINTS),
            self._use_key(),
            Right(
                "EncryptVolumes",
                "SageMaker gives the volumes of a job their key by a grant",
                ["kms:CreateGrant"],
                [self._key.key_arn],
                {"Bool": {"kms:GrantIsForAWSResource": "true"}},
            ),
            Right(
                "ReadMlflowPassword",
                "the job tracks its runs as a user of its own",
                ["secretsmanager:GetSecretValue"],
                [password],
            ),
            *self._pull(Image.TRAIN),
            _write_logs(JOBS),
            _write_metrics("/aws/sagemaker/TrainingJobs", METRICS),
            *self._join_network(),
        ]

    def _serving(self) -> list[Right]:
        return [
            Right(
                "ReadReleases",
                "an endpoint reads the release that it was deployed with, whichever that is",
                ["s3:GetObject"],
                self._objects(Prefix.RELEASES),
            ),
            Right(
                "WriteCapturedData",
                "captured requests get a new name each",
                ["s3:PutObject"],
                self._objects(Prefix.CAPTURED),
            ),
            self._list(Prefix.RELEASES),
            self._use_key(),
            *self._pull(Image.SERVE),
            _write_logs(ENDPOINTS),
            _write_metrics("/aws/sagemaker/Endpoints"),
        ]

    def _deploying(self, training: iam.IRole, serving: iam.IRole) -> list[Right]:
        stage = self._stage
        ours = [_sagemaker_arn(kind, f"{stage.prefix}-*") for kind in ("model", "training-job")]
        configurations = _sagemaker_arn("endpoint-config", f"{stage.prefix}-*")
        endpoint = _sagemaker_arn("endpoint", stage.endpoint.lower())
        return [
            Right(
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
            Right(
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
            Right(
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
                Right(
                    f"PassThe{name}Role",
                    "to SageMaker alone, which then runs as that role",
                    ["iam:PassRole"],
                    [passed.role_arn],
                    {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
                )
                for name, passed in (("Training", training), ("Serving", serving))
            ),
            Right(
                "ReadAndWriteReleases",
                "data, releases and what was captured of requests lie below these prefixes",
                ["s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"],
                self._objects(Prefix.DATA, Prefix.RELEASES),
            ),
            Right(
                "ReadCapturedData",
                "to look at what an endpoint was asked",
                ["s3:GetObject"],
                self._objects(Prefix.CAPTURED),
            ),
            self._list(Prefix.DATA, Prefix.RELEASES, Prefix.CAPTURED),
            self._use_key(),
            Right(
                "EncryptVolumes",
                "whoever makes an endpoint or a job gives its volumes their key by a grant",
                ["kms:CreateGrant"],
                [self._key.key_arn],
                {"Bool": {"kms:GrantIsForAWSResource": "true"}},
            ),
            Right(
                "PushImages",
                "the stage's repositories, and no others",
                [*PULL, *PUSH],
                [one.repository_arn for one in self._repositories.values()],
            ),
            Right(
                "ReadLogs",
                "SageMaker names its log groups by job and by endpoint",
                ["logs:FilterLogEvents", "logs:GetLogEvents", "logs:DescribeLogStreams"],
                [_log_arn(JOBS), _log_arn(f"{ENDPOINTS}/{stage.endpoint}")],
            ),
            Right(
                "CheckReleases",
                "answers that a release didn't predict are counted, in one namespace; CloudWatch "
                "knows no resource for metrics",
                ["cloudwatch:PutMetricData"],
                [ANYTHING],
                {"StringEquals": {"cloudwatch:namespace": METRICS}},
            ),
            Right(
                "ReadOutputs",
                "the stage's stacks say what everything is called",
                ["cloudformation:DescribeStacks"],
                [arn("cloudformation", f"stack/{stage.prefix}-*/*")],
            ),
        ]

    def _invoking(self) -> list[Right]:
        return [
            Right(
                "Invoke",
                "one endpoint, and nothing else",
                ["sagemaker:InvokeEndpoint"],
                [_sagemaker_arn("endpoint", self._stage.endpoint.lower())],
            )
        ]

    def _tracking(self) -> list[Right]:
        return [
            Right(
                "KeepArtifacts",
                "runs get new names; MLflow may delete what its users delete, below one prefix",
                [
                    *("s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject"),
                    *("s3:ListMultipartUploadParts", "s3:PutObject"),
                ],
                self._objects(Prefix.RUNS),
            ),
            self._list(Prefix.RUNS),
            self._use_key(),
        ]

    def _objects(self, *prefixes: Prefix) -> list[str]:
        return [self._bucket.arn_for_objects(f"{prefix}*") for prefix in prefixes]

    def _list(self, *prefixes: Prefix) -> Right:
        return Right(
            "List",
            "what lies below the prefixes that it reads",
            ["s3:ListBucket"],
            [self._bucket.bucket_arn],
            {"StringLike": {"s3:prefix": [f"{prefix}*" for prefix in prefixes]}},
        )

    def _use_key(self) -> Right:
        return Right(
            "UseKey",
            "all that lies in the bucket is encrypted with the one key; GenerateDataKey* is with "
            "and without plaintext",
            USE_KEY,
            [self._key.key_arn],
        )

    def _pull(self, image: Image) -> list[Right]:
        return [
            Right("PullImage", "its own", PULL, [self._repositories[image].repository_arn]),
            Right(
                "LogInToImages",
                "AWS knows no resource for a login to ECR",
                ["ecr:GetAuthorizationToken"],
                [ANYTHING],
            ),
        ]

    def _join_network(self) -> list[Right]:
        """What SageMaker's documentation asks for a job in a VPC."""
        return [
            Right(
                "SeeNetwork",
                "AWS knows no resource for describing networks",
                [
                    *("ec2:DescribeDhcpOptions", "ec2:DescribeNetworkInterfaces"),
                    *("ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcs"),
                ],
                [ANYTHING],
            ),
            Right(
                "JoinNetwork",
                "a job's network interfaces get new names; they can only be made in this network",
                [
                    *("ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface"),
                    *(
                        "ec2:CreateNetworkInterfacePermission",
                        "ec2:DeleteNetworkInterfacePermission",
                    ),
                ],
                [arn("ec2", "network-interface/*")],
            ),
            Right(
                "JoinSubnets",
                "a network interface is made in a subnet and with a security group of this network",
                ["ec2:CreateNetworkInterface"],
                [arn("ec2", "subnet/*"), arn("ec2", "security-group/*")],
                {"ArnEquals": {"ec2:Vpc": arn("ec2", f"vpc/{self._vpc.vpc_id}")}},
            ),
        ]


def _sagemaker() -> iam.IPrincipal:
    """SageMaker, and only for this account: it can't be talked into it by another one."""
    return iam.ServicePrincipal(
        "sagemaker.amazonaws.com",
        conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
    )


def _sagemaker_arn(kind: str, name: str) -> str:
    return arn("sagemaker", f"{kind}/{name}")


def _write_logs(group: str) -> Right:
    return Right(
        "WriteLogs",
        "SageMaker makes a log group or a stream for each job and endpoint, and looks for those "
        "that are there",
        [
            *("logs:CreateLogGroup", "logs:CreateLogStream"),
            *("logs:DescribeLogStreams", "logs:PutLogEvents"),
        ],
        [_log_arn(group)],
    )


def _write_metrics(*namespaces: str) -> Right:
    return Right(
        "WriteMetrics",
        "CloudWatch knows no resource for metrics: the namespaces are the bound",
        ["cloudwatch:PutMetricData"],
        [ANYTHING],
        {"StringEquals": {"cloudwatch:namespace": list(namespaces)}},
    )


def _log_arn(group: str) -> str:
    return arn("logs", f"log-group:{group}*")
