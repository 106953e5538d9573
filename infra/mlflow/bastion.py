"""A person's way to MLflow, which has no public address: Session Manager forwards a port to it."""

from aws_cdk import Aws
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from contract.names import PORT_FORWARDING_DOCUMENT, StackName, image_digest_parameter, stack_name
from contract.settings.stage import Stage
from infra.checks import acknowledge
from infra.fargate import PLATFORM, for_tasks
from infra.policy import ANYTHING, Statement, arn, role

SECONDS = 8 * 3600
"""A task that was forgotten ends by itself."""


class Bastion(Construct):
    """A task that only waits, to be forwarded through, and the role of those who may start it.

    It knows no password, and is there while `make ui` is.
    """

    def __init__(
        self,
        scope: Construct,
        name: str,
        stage: Stage,
        *,
        cluster: ecs.Cluster,
        image: ecs.ContainerImage,
        starting: iam.Role,
        log: logs.ILogGroup,
    ) -> None:
        """Build it.

        Args:
            scope: The stack.
            name: Within the stack.
            stage: Whose MLflow it is.
            cluster: Where the task runs.
            image: The tracking host's, which has a command that waits.
            starting: What Fargate itself may do to start the task.
            log: Where it writes.
        """
        super().__init__(scope, name)
        self._stage, self._cluster = stage, cluster
        self._starting = starting
        self._forwarding = role(
            self,
            "Role",
            f"Forwards ports to {stage.prefix}'s MLflow by Session Manager",
            for_tasks(),
            [_FORWARD],
        )
        self.task = self._build_task(image, log)
        self.group = ec2.SecurityGroup(
            self,
            "Group",
            vpc=cluster.vpc,
            description="Forwarded ports: admit nobody, may call MLflow",
        )
        self.viewing = role(
            self,
            "Viewing",
            f"People who look at {stage.prefix}'s MLflow through a forwarded port",
            iam.AccountRootPrincipal(),
            self._view(),
        )

    def _build_task(
        self, image: ecs.ContainerImage, log: logs.ILogGroup
    ) -> ecs.FargateTaskDefinition:
        task = ecs.FargateTaskDefinition(
            self,
            "Task",
            family=f"{self._stage.prefix}-forward",
            cpu=256,
            memory_limit_mib=512,
            runtime_platform=PLATFORM,
            # Else the CDK would add rights of its own, wider than these.
            execution_role=self._starting.without_policy_updates(),
            task_role=self._forwarding.without_policy_updates(),
        )
        # Its root can't be read-only, since the agent of Session Manager writes there.
        task.add_container(
            "forward",
            image=image,
            command=["idle", str(SECONDS)],
            user="mlflow",
            logging=ecs.LogDriver.aws_logs(log_group=log, stream_prefix="forward"),
            linux_parameters=ecs.LinuxParameters(self, "Init", init_process_enabled=True),
        )
        acknowledge(task, "AwsSolutions-ECS2", "It has no environment: it only waits.")
        return task

    def _view(self) -> list[Statement]:
        stage, cluster = self._stage, self._cluster
        tasks = arn("ecs", f"task/{cluster.cluster_name}/*")
        here = {"ArnEquals": {"ecs:cluster": cluster.cluster_arn}}
        return [
            Statement(
                "StartForwarding",
                "each deployment of the task is a new revision of the one definition",
                ["ecs:RunTask"],
                [arn("ecs", f"task-definition/{stage.prefix}-forward:*")],
                here,
            ),
            Statement(
                "SeeAndStopForwarding",
                "tasks get new names; those of one cluster, tagged as their definition is",
                ["ecs:DescribeTasks", "ecs:StopTask", "ecs:TagResource"],
                [tasks],
            ),
            Statement(
                "PassRolesToTheTask",
                "to ECS alone, which then runs the task with them",
                ["iam:PassRole"],
                [self._starting.role_arn, self._forwarding.role_arn],
                {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
            ),
            Statement(
                "ForwardPorts",
                "by the document that forwards ports, and by none that opens a shell; tasks get "
                "new names, and only this one lets Session Manager in",
                ["ssm:StartSession"],
                [
                    tasks,
                    f"arn:{Aws.PARTITION}:ssm:{Aws.REGION}::document/{PORT_FORWARDING_DOCUMENT}",
                ],
                {"BoolIfExists": {"ssm:SessionDocumentAccessCheck": "true"}},
            ),
            Statement(
                "UseSessions",
                "sessions get new names; newer plugins open a session's channel with the rights of "
                "whoever began it",
                ["ssmmessages:OpenDataChannel"],
                [arn("ssm", "session/*")],
            ),
            Statement(
                "EndSessions",
                "sessions get new names; Session Manager tags each with who began it",
                ["ssm:ResumeSession", "ssm:TerminateSession"],
                [arn("ssm", "session/*")],
                {"StringEquals": {"ssm:resourceTag/aws:ssmmessages:session-id": "${aws:userid}"}},
            ),
            Statement(
                "ReadOutputs",
                "the stage's stacks say what everything is called",
                ["cloudformation:DescribeStacks"],
                [
                    arn("cloudformation", f"stack/{stack_name(stage, part)}/*")
                    for part in (StackName.BASE, StackName.MLFLOW)
                ],
            ),
            Statement(
                "SeeWhetherThereIsAnImage",
                "without one there is no MLflow yet",
                ["ssm:GetParameter"],
                [arn("ssm", f"parameter{image_digest_parameter(stage)}")],
            ),
        ]


_FORWARD = Statement(
    "Forward",
    "AWS knows no resource for Session Manager's channels",
    [
        *("ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel"),
        *("ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel"),
    ],
    [ANYTHING],
)
