"""The roles of the base stack: training, serving, mlflow, deploying and invoking."""

from aws_cdk import aws_iam as iam
from constructs import Construct

from contract.names import (
    METRIC_NAMESPACE,
    TRAINING_LOG_GROUP,
    BucketPrefix,
    Image,
    RoleName,
    training_job_prefix,
)
from contract.settings.stage import Stage
from infra.base.deploying_role import deploying_statements
from infra.base.network import Network
from infra.base.statements import (
    DataAccess,
    endpoint_log_group,
    sagemaker_arn,
    write_logs,
    write_metrics,
)
from infra.policy import ANY_RESOURCE, Statement, arn, create_role, service_principal


class Roles(Construct):
    """The roles; each statement of them has a reason."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        stage: Stage,
        *,
        data: DataAccess,
        network: Network,
        training_password: str,
    ) -> None:
        """Create the roles.

        Args:
            scope: The stack.
            construct_id: The id of the construct within the stack.
            stage: Names the endpoint.
            data: The bucket, key and repositories that the roles have access to.
            network: The network of training jobs.
            training_password: The ARN of the password of the training jobs' MLflow user.
        """
        super().__init__(scope, construct_id)
        self._stage, self._data, self._vpc = stage, data, network.vpc
        account = iam.AccountRootPrincipal()
        training = create_role(
            self,
            "TrainingRole",
            f"Training jobs of {stage.prefix}: read data, track runs, write releases",
            service_principal("sagemaker"),
            self._training_statements(training_password),
        )
        serving = create_role(
            self,
            "ServingRole",
            f"Endpoints of {stage.prefix}: read releases, write captured data",
            service_principal("sagemaker"),
            self._serving_statements(),
        )
        mlflow = create_role(
            self,
            "MlflowRole",
            f"MLflow server of {stage.prefix}: stores the artifacts of runs",
            service_principal("ecs-tasks"),
            self._mlflow_statements(),
        )
        deploying = create_role(
            self,
            "DeployingRole",
            f"Users and CI that train and deploy to {stage.prefix}",
            account,
            deploying_statements(stage, data, network, training, serving),
        )
        invoking = create_role(
            self,
            "InvokingRole",
            f"Applications that request predictions from {stage.endpoint}",
            account,
            self._invoking_statements(),
        )
        self.by_name = {
            RoleName.TRAINING: training,
            RoleName.SERVING: serving,
            RoleName.MLFLOW: mlflow,
            RoleName.DEPLOYING: deploying,
            RoleName.INVOKING: invoking,
        }

    def _training_statements(self, training_password: str) -> list[Statement]:
        data, jobs, releases = BucketPrefix.DATA, BucketPrefix.JOBS, BucketPrefix.RELEASES
        return [
            Statement(
                "ReadDataSettingsAndReleases",
                "tables, the job's settings, and the releases that exist are stored below these "
                "prefixes",
                ["s3:GetObject"],
                self._data.object_arns(data, jobs, releases),
            ),
            Statement(
                "WriteReleasesAndOutputs",
                "each training writes releases and outputs with new names; nothing is deleted",
                ["s3:AbortMultipartUpload", "s3:PutObject"],
                self._data.object_arns(releases, jobs),
            ),
            self._data.list_prefixes(data, releases, jobs),
            self._data.use_key(),
            Statement(
                "EncryptOutputs",
                # https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_OutputDataConfig.html
                "SageMaker requires it of the role where OutputDataConfig names a key",
                ["kms:Encrypt"],
                [self._data.key.key_arn],
            ),
            # https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html
            self._data.encrypt_volumes(
                "SageMaker requires it of the role where ResourceConfig names a key"
            ),
            Statement(
                "ReadMlflowPassword",
                "training jobs track their runs as an MLflow user of their own",
                ["secretsmanager:GetSecretValue"],
                [training_password],
            ),
            *self._data.pull_image(Image.TRAIN),
            # All stages of an account share this log group.
            *write_logs(TRAINING_LOG_GROUP, training_job_prefix(self._stage)),
            write_metrics("/aws/sagemaker/TrainingJobs", METRIC_NAMESPACE),
            *self._vpc_statements(),
        ]

    def _vpc_statements(self) -> list[Statement]:
        """Return the permissions that SageMaker's documentation requires for a job in a VPC."""
        interfaces = arn("ec2", "network-interface/*")
        in_this_vpc = {"ArnEquals": {"ec2:Vpc": arn("ec2", f"vpc/{self._vpc.vpc_id}")}}
        return [
            Statement(
                "DescribeNetwork",
                "describing networks does not support resource-level permissions",
                [
                    "ec2:DescribeDhcpOptions",
                    "ec2:DescribeNetworkInterfaces",
                    "ec2:DescribeSecurityGroups",
                    "ec2:DescribeSubnets",
                    "ec2:DescribeVpcs",
                ],
                [ANY_RESOURCE],
            ),
            # Which actions know the key ec2:Vpc of which resources:
            # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
            Statement(
                "CreateNetworkInterfaces",
                "each network interface of a job has a new id; the next statement limits it to "
                "this network",
                ["ec2:CreateNetworkInterface"],
                [interfaces],
            ),
            Statement(
                "UseSubnetsAndSecurityGroups",
                "a network interface is created in a subnet and with a security group of this "
                "network",
                ["ec2:CreateNetworkInterface"],
                [arn("ec2", "subnet/*"), arn("ec2", "security-group/*")],
                in_this_vpc,
            ),
            Statement(
                "ManageNetworkInterfaces",
                "SageMaker attaches and deletes the network interfaces that it creates in this "
                "network",
                [
                    "ec2:CreateNetworkInterfacePermission",
                    "ec2:DeleteNetworkInterface",
                    "ec2:DeleteNetworkInterfacePermission",
                ],
                [interfaces],
                in_this_vpc,
            ),
        ]

    def _serving_statements(self) -> list[Statement]:
        return [
            Statement(
                "ReadReleases",
                "an endpoint reads the release that it was deployed with, which can be any",
                ["s3:GetObject"],
                self._data.object_arns(BucketPrefix.RELEASES),
            ),
            Statement(
                "WriteCapturedData",
                "each file of captured requests has a new name",
                ["s3:PutObject"],
                self._data.object_arns(BucketPrefix.CAPTURED),
            ),
            self._data.list_prefixes(BucketPrefix.RELEASES),
            self._data.use_key(),
            *self._data.pull_image(Image.SERVE),
            *write_logs(endpoint_log_group(self._stage)),
            write_metrics("/aws/sagemaker/Endpoints"),
        ]

    def _mlflow_statements(self) -> list[Statement]:
        return [
            Statement(
                "ReadAndWriteArtifacts",
                "each run has a new name; MLflow deletes what its users delete, below one prefix",
                [
                    "s3:AbortMultipartUpload",
                    "s3:DeleteObject",
                    "s3:GetObject",
                    "s3:ListMultipartUploadParts",
                    "s3:PutObject",
                ],
                self._data.object_arns(BucketPrefix.RUNS),
            ),
            self._data.list_prefixes(BucketPrefix.RUNS),
            self._data.use_key(),
        ]

    def _invoking_statements(self) -> list[Statement]:
        return [
            Statement(
                "InvokeEndpoint",
                "only the stage's endpoint",
                ["sagemaker:InvokeEndpoint"],
                [sagemaker_arn("endpoint", self._stage.endpoint.lower())],
            )
        ]
