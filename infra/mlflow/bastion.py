"""The bastion: a task through which Session Manager forwards a port to MLflow.

MLflow has no public address; this is how users reach it.
"""

from aws_cdk import Aws
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from contract.names import (
    PORT_FORWARDING_DOCUMENT,
    Image,
    StackName,
    image_digest_parameter,
    stack_name,
)
from contract.settings.stage import Stage
from infra.checks import acknowledge
from infra.fargate import PLATFORM
from infra.policy import ANY_RESOURCE, Statement, arn, create_role, service_principal

IDLE_SECONDS = 8 * 3600
"""After this time the task stops by itself, in case nobody stops it."""


class Bastion(Construct):
    """An idle task through which a port is forwarded, and the role that may start it.

    The task has no secrets. It runs only while `make ui` or `make mlflow-user` needs it.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        stage: Stage,
        *,
        cluster: ecs.Cluster,
        image: ecs.ContainerImage,
        execution_role: iam.Role,
        log_group: logs.ILogGroup,
    ) -> None:
        """Create the task definition, its roles and its security group.

        Args:
            scope: The parent construct.
            construct_id: The id of the construct within its parent.
            stage: The stage of the MLflow server.
            cluster: Where the task runs.
            image: The MLflow image, which has the command `idle`.
            execution_role: The role with which Fargate starts the task.
            log_group: Where the task writes its log.
        """
        super().__init__(scope, construct_id)
        self._stage, self._cluster = stage, cluster
        self._family = f"{stage.prefix}-bastion"
        self._execution_role = execution_role
        self._task_role = create_role(
            self,
            "TaskRole",
            f"Forwards ports to the MLflow server of {stage.prefix} by Session Manager",
            service_principal("ecs-tasks"),
            [_OPEN_CHANNELS],
        )
        self.task_definition = self._create_task_definition(image, log_group)
        self.security_group = ec2.SecurityGroup(
            self,
            "SecurityGroup",
            vpc=cluster.vpc,
            description="Bastion: no inbound traffic, calls MLflow and AWS services",
        )
        self.viewing_role = create_role(
            self,
            "ViewingRole",
            f"Users that view the MLflow server of {stage.prefix} through a forwarded port",
            iam.AccountRootPrincipal(),
            [*self._manage_task(), *self._forward_ports(), *self._read_stacks()],
        )

    def _create_task_definition(
        self, image: ecs.ContainerImage, log_group: logs.ILogGroup
    ) -> ecs.FargateTaskDefinition:
        task_definition = ecs.FargateTaskDefinition(
            self,
            "TaskDefinition",
            family=self._family,
            cpu=256,
            memory_limit_mib=512,
            runtime_platform=PLATFORM,
            # Without this the CDK would add permissions of its own, which are wider.
            execution_role=self._execution_role.without_policy_updates(),
            task_role=self._task_role.without_policy_updates(),
        )
        # The root file system can't be read-only: Session Manager's agent writes to it.
        task_definition.add_container(
            "bastion",
            image=image,
            command=["idle", str(IDLE_SECONDS)],
            user="mlflow",
            logging=ecs.LogDriver.aws_logs(log_group=log_group, stream_prefix="bastion"),
            linux_parameters=ecs.LinuxParameters(
                self, "LinuxParameters", init_process_enabled=True
            ),
        )
        acknowledge(task_definition, "AwsSolutions-ECS2", "The task has no environment variables.")
        return task_definition

    @property
    def _task_arns(self) -> str:
        return arn("ecs", f"task/{self._cluster.cluster_name}/*")

    def _manage_task(self) -> list[Statement]:
        return [
            Statement(
                "RunBastionTask",
                "each deployment of the task definition is a new revision of the same family",
                ["ecs:RunTask"],
                [arn("ecs", f"task-definition/{self._family}:*")],
                {"ArnEquals": {"ecs:cluster": self._cluster.cluster_arn}},
            ),
            Statement(
                "DescribeAndStopTasks",
                "each task has a new id; only tasks of this cluster, which get the tags of their "
                "task definition",
                ["ecs:DescribeTasks", "ecs:StopTask", "ecs:TagResource"],
                [self._task_arns],
            ),
            Statement(
                "PassTaskRoles",
                "only to ECS, which then runs the task with them",
                ["iam:PassRole"],
                [self._execution_role.role_arn, self._task_role.role_arn],
                {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
            ),
        ]

    def _forward_ports(self) -> list[Statement]:
        document = f"document/{PORT_FORWARDING_DOCUMENT}"
        return [
            Statement(
                "StartPortForwarding",
                "only with the document that forwards ports, not with one that opens a shell; each "
                "task has a new id, and only the bastion's accepts Session Manager",
                ["ssm:StartSession"],
                [self._task_arns, f"arn:{Aws.PARTITION}:ssm:{Aws.REGION}::{document}"],
                {"BoolIfExists": {"ssm:SessionDocumentAccessCheck": "true"}},
            ),
            Statement(
                "OpenDataChannel",
                "each session has a new id; newer plugins open a session's channel with the "
                "permissions of the user that started it",
                ["ssmmessages:OpenDataChannel"],
                [arn("ssm", "session/*")],
            ),
            Statement(
                "ResumeAndTerminateSessions",
                "each session has a new id; Session Manager tags it with the user that started it",
                ["ssm:ResumeSession", "ssm:TerminateSession"],
                [arn("ssm", "session/*")],
                {"StringEquals": {"ssm:resourceTag/aws:ssmmessages:session-id": "${aws:userid}"}},
            ),
        ]

    def _read_stacks(self) -> list[Statement]:
        return [
            Statement(
                "ReadStackOutputs",
                "the outputs of the stage's stacks name its resources",
                ["cloudformation:DescribeStacks"],
                [
                    arn("cloudformation", f"stack/{stack_name(self._stage, name)}/*")
                    for name in (StackName.BASE, StackName.MLFLOW)
                ],
            ),
            Statement(
                "ReadImageDigest",
                "make ui reports that MLflow does not run if no image was pushed",
                ["ssm:GetParameter"],
                [arn("ssm", f"parameter{image_digest_parameter(self._stage, Image.MLFLOW)}")],
            ),
        ]


_OPEN_CHANNELS = Statement(
    "OpenSessionManagerChannels",
    "Session Manager's channels do not support resource-level permissions",
    [
        "ssmmessages:CreateControlChannel",
        "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel",
        "ssmmessages:OpenDataChannel",
    ],
    [ANY_RESOURCE],
)
