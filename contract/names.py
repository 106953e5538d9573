"""Names on AWS that infra/ assigns and the commands look up."""

from enum import StrEnum

from contract.settings.stage import Platform, Stage

PRODUCTION_VARIANT = "AllTraffic"
"""The production variant of every endpoint. SageMaker can't rename a variant in an update."""
METRIC_NAMESPACE = "SageMakerMLflowStack"
"""The CloudWatch namespace of this project's custom metrics."""
RELEASE_CHECK_METRIC = "ReleaseCheckFailures"
"""Responses that name a release and differ from its predictions; a count."""


class StackName(StrEnum):
    """The stacks of a stage, in deployment order."""

    BASE = "base"
    """The network, the storage, the image repositories and the roles."""
    MLFLOW = "mlflow"
    """The MLflow tracking server and its database."""
    MONITORING = "monitoring"
    """Alarms, notifications, the dashboard and the budget."""


class BucketPrefix(StrEnum):
    """The prefixes of the artifact bucket."""

    DATA = "data/"
    RELEASES = "releases/"
    JOBS = "jobs/"
    """The settings and outputs of training jobs."""
    CAPTURED = "captured/"
    RUNS = "runs/"
    """The artifacts of MLflow's runs."""


class Image(StrEnum):
    """The images: one target of the Dockerfile and one repository per image."""

    SERVE = "serve"
    TRAIN = "train"
    MLFLOW = "mlflow"


class RoleName(StrEnum):
    """The IAM roles of a stage."""

    TRAINING = "training"
    SERVING = "serving"
    MLFLOW = "mlflow"
    DEPLOYING = "deploying"
    INVOKING = "invoking"
    VIEWING = "viewing"


class MlflowUser(StrEnum):
    """The MLflow users created with the server; `make mlflow-user` adds those of people."""

    ADMIN = "admin"
    TRAINING = "training"
    """The user of training jobs."""


class StackOutput(StrEnum):
    """The outputs of the stacks; the value is the key in CloudFormation."""

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
    MLFLOW_ADMIN_SECRET = "MlflowAdminSecret"  # noqa: S105 - a name, not a secret
    MLFLOW_TRAINING_SECRET = "MlflowTrainingSecret"  # noqa: S105 - a name too
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
    """The alarms that can roll back a deployment; they are created before the endpoint."""

    ERRORS = "5xx"
    LATENCY = "latency"
    RELEASE_CHECK = "release-check"


def make_command(stage: Stage, command: str) -> str:
    """Return a command of the Makefile that acts on a stage, for messages.

    Args:
        stage: The stage.
        command: The target and its variables, such as `train TARGET=aws`.
    """
    return f"make {command} STAGE={stage.name}"


def stack_name(stage: Stage, stack: StackName) -> str:
    """Return a stack's name: `house-prices-dev-base`."""
    return f"{stage.prefix}-{stack}"


def repository_name(stage: Stage, image: Image) -> str:
    """Return the name of an image's ECR repository: `house-prices-dev/serve`."""
    return f"{stage.prefix}/{image}"


def alarm_name(stage: Stage, alarm: EndpointAlarm) -> str:
    """Return an alarm's name: `prod-endpoint-5xx`."""
    return f"{stage.endpoint}-{alarm}"


def training_job_prefix(stage: Stage) -> str:
    """Return what the names of all training jobs start with: `house-prices-dev-train-`."""
    return f"{stage.prefix}-train-"


def image_digest_parameter(stage: Stage, image: Image) -> str:
    """Return the name of the SSM parameter with an image's digest: `/house-prices-dev/serve-image`.

    Its value is NO_IMAGE until the first image is pushed. `make build-and-push` writes those of the
    serving and training images. Only `make deploy` writes that of MLflow's: a new value deploys it.
    """
    return f"/{stage.prefix}/{image}-image"


def image_platform(stage: Stage, image: Image) -> Platform:
    """Return the platform that an image has to be built for, whatever machine builds it."""
    platforms = {
        Image.SERVE: stage.endpoint_platform,
        Image.TRAIN: stage.training_platform,
        Image.MLFLOW: FARGATE_PLATFORM,
    }
    return platforms[image]


FARGATE_PLATFORM = Platform.AMD64
"""The platform of Fargate's tasks; infra/fargate.py configures them with it."""
TRAINING_LOG_GROUP = "/aws/sagemaker/TrainingJobs"
"""Where SageMaker writes the logs of all training jobs of an account."""
NO_IMAGE = "none"
PORT_FORWARDING_DOCUMENT = "AWS-StartPortForwardingSessionToRemoteHost"
"""The Session Manager document that forwards a port through a task to a host that it can reach."""
BASTION_STARTED_BY = "make"
"""The `startedBy` of a bastion task in ECS."""
LOAD_BALANCER_IDLE_SECONDS = 120
"""The idle timeout of the load balancer, in seconds.

The keep-alive timeout of the server behind it has to be longer; otherwise the load balancer sends
requests into connections that the server is closing, and returns a 502.
"""
