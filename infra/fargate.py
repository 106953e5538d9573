"""What all tasks on Fargate have in common: whom they are started by, and on which machines."""

from aws_cdk import Aws
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from contract.settings.stage import Stage
from infra.policy import ANYTHING, Statement, role

PULL = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
PLATFORM = ecs.RuntimePlatform(
    cpu_architecture=ecs.CpuArchitecture.X86_64,
    operating_system_family=ecs.OperatingSystemFamily.LINUX,
)
"""What `make build` builds images for."""


def for_tasks() -> iam.IPrincipal:
    """Return ECS, and only for this account, as the one that a role trusts."""
    return iam.ServicePrincipal(
        "ecs-tasks.amazonaws.com",
        conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
    )


def execution_role(
    scope: Construct,
    name: str,
    stage: Stage,
    *more: Statement,
    repository: ecr.IRepository,
    log: logs.ILogGroup,
) -> iam.Role:
    """Build what Fargate itself may do to start a task: pull its image, write its log.

    Args:
        scope: The construct.
        name: Within it.
        stage: Whose task it is.
        more: Further rights: the passwords that it reads.
        repository: Of its image.
        log: Where it writes.
    """
    rights = [
        Statement("PullImage", "its own", PULL, [repository.repository_arn]),
        Statement(
            "LogIn",
            "AWS knows no resource for a login to ECR",
            ["ecr:GetAuthorizationToken"],
            [ANYTHING],
        ),
        Statement(
            "WriteLog",
            "a stream a container, in one group",
            ["logs:CreateLogStream", "logs:PutLogEvents"],
            [log.log_group_arn],
        ),
        *more,
    ]
    description = f"Starts tasks of {stage.prefix}: pulls their image, writes their log"
    return role(scope, name, description, for_tasks(), rights)
