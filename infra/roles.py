"""Who may do what: training, serving, tracking, deploying and invoking have a role each."""

from aws_cdk import Aws
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

from contract.names import METRICS, Image, Prefix
from contract.names import Role as Name
from contract.stage import Stage
from infra.common_rights import (
    ENDPOINTS,
    JOBS,
    Kept,
    sagemaker_arn,
    write_logs,
    write_metrics,
)
from infra.deploying import deploying
from infra.rights import ANYTHING, Right, arn, role
from infra.tasks import for_tasks


class Roles(Construct):
    """The roles, and each right with its reason."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        stage: Stage,
        *,
        kept: Kept,
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

    def _training(self, password: str) -> list[Right]:
        return [
            Right(
                "ReadData",
                "the tables, a checkpoint to go on from, and the releases to compare with are "
                "whatever lies below these prefixes",
                ["s3:GetObject"],
                self._kept.objects(Prefix.DATA, Prefix.CHECKPOINTS, Prefix.RELEASES),
            ),
            Right(
                "WriteReleases",
                "releases and checkpoints get new names with each training; nothing is deleted",
                ["s3:AbortMultipartUpload", "s3:PutObject"],
                self._kept.objects(Prefix.RELEASES, Prefix.CHECKPOINTS),
            ),
            self._kept.look_into(Prefix.DATA, Prefix.RELEASES, Prefix.CHECKPOINTS),
            self._kept.use_key(),
            self._kept.encrypt_volumes(),
            Right(
                "ReadMlflowPassword",
                "the job tracks its runs as a user of its own",
                ["secretsmanager:GetSecretValue"],
                [password],
            ),
            *self._kept.pull(Image.TRAIN),
            write_logs(JOBS),
            write_metrics("/aws/sagemaker/TrainingJobs", METRICS),
            *self._join_network(),
        ]

    def _serving(self) -> list[Right]:
        return [
            Right(
                "ReadReleases",
                "an endpoint reads the release that it was deployed with, whichever that is",
                ["s3:GetObject"],
                self._kept.objects(Prefix.RELEASES),
            ),
            Right(
                "WriteCapturedData",
                "captured requests get a new name each",
                ["s3:PutObject"],
                self._kept.objects(Prefix.CAPTURED),
            ),
            self._kept.look_into(Prefix.RELEASES),
            self._kept.use_key(),
            *self._kept.pull(Image.SERVE),
            write_logs(ENDPOINTS),
            write_metrics("/aws/sagemaker/Endpoints"),
        ]

    def _invoking(self) -> list[Right]:
        return [
            Right(
                "Invoke",
                "one endpoint, and nothing else",
                ["sagemaker:InvokeEndpoint"],
                [sagemaker_arn("endpoint", self._stage.endpoint.lower())],
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
                self._kept.objects(Prefix.RUNS),
            ),
            self._kept.look_into(Prefix.RUNS),
            self._kept.use_key(),
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
