"""Who may do what: training, serving, tracking, deploying and invoking have a role each."""

from aws_cdk import Aws
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

from contract.names import METRIC_NAMESPACE, BucketPrefix, Image
from contract.names import RoleName as Name
from contract.settings.stage import Stage
from infra.base.deploying_role import deploying
from infra.base.statements import (
    ENDPOINTS,
    JOBS,
    DataAccess,
    sagemaker_arn,
    write_logs,
    write_metrics,
)
from infra.fargate import for_tasks
from infra.policy import ANYTHING, Statement, arn, role


class Roles(Construct):
    """The roles, and each right with its reason."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        stage: Stage,
        *,
        kept: DataAccess,
        vpc: ec2.IVpc,
        training_password: str,
    ) -> None:
        """Build them.

        Args:
            scope: The stack.
            name: Within the stack.
            stage: Names the endpoint.
            kept: What the roles have rights over.
            vpc: Where trainings run.
            training_password: ARN of the secret of the training's MLflow user.
        """
        super().__init__(scope, name)
        self._stage, self._kept, self._vpc = stage, kept, vpc
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
            Name.MLFLOW: role(
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
                deploying(stage, self._kept, training, serving),
            ),
            Name.INVOKING: role(
                self,
                "Invoking",
                f"Applications that ask {stage.endpoint} for predictions",
                iam.AccountRootPrincipal(),
                self._invoking(),
            ),
        }

    def _training(self, generated_secret: str) -> list[Statement]:
        return [
            Statement(
                "ReadData",
                "the tables, a checkpoint to go on from, and the releases to compare with are "
                "whatever lies below these prefixes",
                ["s3:GetObject"],
                self._kept.objects(
                    BucketPrefix.DATA, BucketPrefix.CHECKPOINTS, BucketPrefix.RELEASES
                ),
            ),
            Statement(
                "WriteReleases",
                "releases and checkpoints get new names with each training; nothing is deleted",
                ["s3:AbortMultipartUpload", "s3:PutObject"],
                self._kept.objects(BucketPrefix.RELEASES, BucketPrefix.CHECKPOINTS),
            ),
            self._kept.look_into(
                BucketPrefix.DATA, BucketPrefix.RELEASES, BucketPrefix.CHECKPOINTS
            ),
            self._kept.use_key(),
            self._kept.encrypt_volumes(),
            Statement(
                "ReadMlflowPassword",
                "the job tracks its runs as a user of its own",
                ["secretsmanager:GetSecretValue"],
                [generated_secret],
            ),
            *self._kept.pull(Image.TRAIN),
            write_logs(JOBS),
            write_metrics("/aws/sagemaker/TrainingJobs", METRIC_NAMESPACE),
            *self._join_network(),
        ]

    def _serving(self) -> list[Statement]:
        return [
            Statement(
                "ReadReleases",
                "an endpoint reads the release that it was deployed with, whichever that is",
                ["s3:GetObject"],
                self._kept.objects(BucketPrefix.RELEASES),
            ),
            Statement(
                "WriteCapturedData",
                "captured requests get a new name each",
                ["s3:PutObject"],
                self._kept.objects(BucketPrefix.CAPTURED),
            ),
            self._kept.look_into(BucketPrefix.RELEASES),
            self._kept.use_key(),
            *self._kept.pull(Image.SERVE),
            write_logs(ENDPOINTS),
            write_metrics("/aws/sagemaker/Endpoints"),
        ]

    def _invoking(self) -> list[Statement]:
        return [
            Statement(
                "Invoke",
                "one endpoint, and nothing else",
                ["sagemaker:InvokeEndpoint"],
                [sagemaker_arn("endpoint", self._stage.endpoint.lower())],
            )
        ]

    def _tracking(self) -> list[Statement]:
        return [
            Statement(
                "KeepArtifacts",
                "runs get new names; MLflow may delete what its users delete, below one prefix",
                [
                    *("s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject"),
                    *("s3:ListMultipartUploadParts", "s3:PutObject"),
                ],
                self._kept.objects(BucketPrefix.RUNS),
            ),
            self._kept.look_into(BucketPrefix.RUNS),
            self._kept.use_key(),
        ]

    def _join_network(self) -> list[Statement]:
        """What SageMaker's documentation asks for a job in a VPC."""
        return [
            Statement(
                "SeeNetwork",
                "AWS knows no resource for describing networks",
                [
                    *("ec2:DescribeDhcpOptions", "ec2:DescribeNetworkInterfaces"),
                    *("ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcs"),
                ],
                [ANYTHING],
            ),
            Statement(
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
            Statement(
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
