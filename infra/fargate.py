"""What all Fargate tasks have in common: their platform and their execution role."""

from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from contract.names import FARGATE_PLATFORM
from contract.settings.stage import Platform, Stage
from infra.policy import ANY_RESOURCE, Statement, create_role, service_principal

PULL_IMAGE_ACTIONS = (
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:GetDownloadUrlForLayer",
)
ARCHITECTURES = {
    Platform.AMD64: ecs.CpuArchitecture.X86_64,
    Platform.ARM64: ecs.CpuArchitecture.ARM64,
}
PLATFORM = ecs.RuntimePlatform(
    cpu_architecture=ARCHITECTURES[FARGATE_PLATFORM],
    operating_system_family=ecs.OperatingSystemFamily.LINUX,
)
"""The platform that `make deploy` builds MLflow's image for."""

LOG_IN_TO_ECR = Statement(
    "LogInToEcr",
    "ecr:GetAuthorizationToken does not support resource-level permissions",
    ["ecr:GetAuthorizationToken"],
    [ANY_RESOURCE],
)


def pull_image(repository: ecr.IRepository) -> list[Statement]:
    """Return the permissions to pull the images of one repository."""
    return [
        Statement(
            "PullImage", "only its own image", PULL_IMAGE_ACTIONS, [repository.repository_arn]
        ),
        LOG_IN_TO_ECR,
    ]


def execution_role(
    scope: Construct,
    construct_id: str,
    stage: Stage,
    *more: Statement,
    repository: ecr.IRepository,
    log_group: logs.ILogGroup,
) -> iam.Role:
    """Create the role with which Fargate starts a task: it pulls the image and writes the log.

    Args:
        scope: The parent construct.
        construct_id: The id of the role within its parent.
        stage: The stage of the task.
        more: Further permissions, such as reading the task's secrets.
        repository: The repository of the task's image.
        log_group: Where the task's containers write their logs.
    """
    statements = [
        *pull_image(repository),
        Statement(
            "WriteLogs",
            "one stream per container, all in one log group",
            ["logs:CreateLogStream", "logs:PutLogEvents"],
            [log_group.log_group_arn],
        ),
        *more,
    ]
    description = f"Starts tasks of {stage.prefix}: pulls their image, writes their logs"
    return create_role(scope, construct_id, description, service_principal("ecs-tasks"), statements)
