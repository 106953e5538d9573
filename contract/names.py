"""The names on AWS that infra/ gives and scripts/ look for."""

from enum import StrEnum

from contract.settings.stage import Stage

PRODUCTION_VARIANT = "AllTraffic"
"""The one production variant of an endpoint: a deployment may not change its name."""
METRIC_NAMESPACE = "SageMakerMLflowStack"
"""The namespace of our own metrics."""
RELEASE_CHECK_METRIC = "ReleaseCheckFailures"
"""Answers that name a release and aren't what that release predicts."""


class StackName(StrEnum):
    """The stacks of a stage, in the order in which they are deployed."""

    BASE = "base"
    """The network, the storage, the images' repositories and the roles."""
    MLFLOW = "mlflow"
    """The MLflow tracking server and its database."""
    MONITORING = "monitoring"
    """Alarms, the dashboard, who is told, the budget."""


class BucketPrefix(StrEnum):
    """What the artifact bucket holds."""

    DATA = "data/"
    RELEASES = "releases/"
    CHECKPOINTS = "checkpoints/"
    CAPTURED = "captured/"
    RUNS = "runs/"
    """What MLflow keeps of runs."""


class Image(StrEnum):
    """The images, which are the Dockerfile's targets, and a repository each."""

    SERVE = "serve"
    TRAIN = "train"
    MLFLOW = "mlflow"


class RoleName(StrEnum):
    """Who may do what."""

    TRAINING = "training"
    SERVING = "serving"
    MLFLOW = "mlflow"
    DEPLOYING = "deploying"
    INVOKING = "invoking"
    VIEWING = "viewing"


class MlflowUser(StrEnum):
    """The users that MLflow has from the start; people get theirs by `make mlflow-user`."""

    ADMIN = "admin"
    TRAINING = "training"
    """What training jobs are."""


class StackOutput(StrEnum):
    """What a stack tells of itself; the value is CloudFormation's key."""

    ARTIFACT_BUCKET = "ArtifactBucket"
    LOG_BUCKET = "LogBucket"
    DATA_KEY = "DataKey"
    SERVE_REPOSITORY = "ServeRepository"
    TRAIN_REPOSITORY = "TrainRepository"
    MLFLOW_REPOSITORY = "MlflowRepository"
    TRAINING_ROLE = "TrainingRole"
    SERVING_ROLE = "ServingRole"
    MLFLOW_ROLE = "MlflowRole"
    DEPLOYING_ROLE = "DeployingRole"
    INVOKING_ROLE = "InvokingRole"
    VIEWING_ROLE = "ViewingRole"
    PRIVATE_SUBNETS = "PrivateSubnets"
    TRAINING_SECURITY_GROUP = "TrainingSecurityGroup"
    MLFLOW_URI = "MlflowUri"
    MLFLOW_CLUSTER = "MlflowCluster"
    MLFLOW_SERVICE = "MlflowService"
    MLFLOW_DATABASE = "MlflowDatabase"
    MLFLOW_ADMIN_SECRET = "MlflowAdminSecret"  # noqa: S105 - its name, and no secret
    MLFLOW_TRAINING_SECRET = "MlflowTrainingSecret"  # noqa: S105 - as well
    BASTION_TASK = "BastionTask"
    BASTION_SECURITY_GROUP = "BastionSecurityGroup"
    NOTIFICATION_TOPIC = "NotificationTopic"


REPOSITORY_OUTPUTS = {
    Image.SERVE: StackOutput.SERVE_REPOSITORY,
    Image.TRAIN: StackOutput.TRAIN_REPOSITORY,
    Image.MLFLOW: StackOutput.MLFLOW_REPOSITORY,
}
ROLE_OUTPUTS = {
    RoleName.TRAINING: StackOutput.TRAINING_ROLE,
    RoleName.SERVING: StackOutput.SERVING_ROLE,
    RoleName.MLFLOW: StackOutput.MLFLOW_ROLE,
    RoleName.DEPLOYING: StackOutput.DEPLOYING_ROLE,
    RoleName.INVOKING: StackOutput.INVOKING_ROLE,
    RoleName.VIEWING: StackOutput.VIEWING_ROLE,
}


class EndpointAlarm(StrEnum):
    """The alarms that may turn a deployment back; they are there before the endpoint is."""

    ERRORS = "5xx"
    LATENCY = "latency"
    RELEASE_CHECK = "release-check"


def stack_name(stage: Stage, part: StackName) -> str:
    """Return a stack's name: `house-prices-dev-base`."""
    return f"{stage.prefix}-{part}"


def repository_name(stage: Stage, image: Image) -> str:
    """Return the name of an image's repository: `house-prices-dev/serve`."""
    return f"{stage.prefix}/{image}"


def alarm_name(stage: Stage, alarm: EndpointAlarm) -> str:
    """Return an alarm's name: `prod-endpoint-5xx`."""
    return f"{stage.endpoint}-{alarm}"


def image_digest_parameter(stage: Stage) -> str:
    """Return the name of the SSM parameter that holds the digest of the tracking host's image.

    It says NO_IMAGE until one was pushed.
    """
    return f"/{stage.prefix}/mlflow-image"


NO_IMAGE = "none"
PORT_FORWARDING_DOCUMENT = "AWS-StartPortForwardingSessionToRemoteHost"
"""What Session Manager forwards a port by, through a task, to a host that the task can reach."""
BASTION_STARTED_BY = "make"
"""Whom ECS says that a forwarding task was started by."""
LOAD_BALANCER_IDLE_SECONDS = 120
"""After which a load balancer closes a connection that nothing went through. What is behind it has
to wait longer, or requests are sent into connections that are being closed (a 502).
"""
