"""The names on AWS that infra/ gives and scripts/ look for."""

from enum import StrEnum

from contract.stage import Stage

VARIANT = "live"
"""The one production variant of an endpoint: a deployment may not change its name."""
METRICS = "SageMakerMLflowStack"
"""The namespace of our own metrics."""
RELEASE_CHECK_METRIC = "WrongAnswers"
"""Answers that name a release and aren't what that release predicts."""


class Part(StrEnum):
    """The stacks of a stage, in the order in which they are deployed."""

    BASE = "base"
    """The network, the storage, the images' repositories and the roles."""
    TRACKING = "tracking"
    """MLflow and its database."""
    MONITORING = "monitoring"
    """Alarms, the dashboard, who is told, the budget."""


class Prefix(StrEnum):
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
    TRACKING = "tracking"


class Role(StrEnum):
    """Who may do what."""

    TRAINING = "training"
    SERVING = "serving"
    TRACKING = "tracking"
    DEPLOYING = "deploying"
    INVOKING = "invoking"
    VIEWING = "viewing"


class TrackingUser(StrEnum):
    """The users that MLflow has from the start; people get theirs by `make mlflow-user`."""

    ADMIN = "admin"
    TRAINING = "training"
    """What training jobs are."""


class Output(StrEnum):
    """What a stack tells of itself; the value is CloudFormation's key."""

    ARTIFACT_BUCKET = "ArtifactBucket"
    LOG_BUCKET = "LogBucket"
    DATA_KEY = "DataKey"
    SERVE_REPOSITORY = "ServeRepository"
    TRAIN_REPOSITORY = "TrainRepository"
    TRACKING_REPOSITORY = "TrackingRepository"
    TRAINING_ROLE = "TrainingRole"
    SERVING_ROLE = "ServingRole"
    TRACKING_ROLE = "TrackingRole"
    DEPLOYING_ROLE = "DeployingRole"
    INVOKING_ROLE = "InvokingRole"
    VIEWING_ROLE = "ViewingRole"
    PRIVATE_SUBNETS = "PrivateSubnets"
    TRAINING_SECURITY_GROUP = "TrainingSecurityGroup"
    TRACKING_ADDRESS = "TrackingAddress"
    TRACKING_CLUSTER = "TrackingCluster"
    TRACKING_SERVICE = "TrackingService"
    TRACKING_DATABASE = "TrackingDatabase"
    ADMIN_SECRET = "AdminSecret"  # noqa: S105 - its name, and no secret
    TRAINING_SECRET = "TrainingSecret"  # noqa: S105 - as well
    FORWARD_TASK = "ForwardTask"
    FORWARD_SECURITY_GROUP = "ForwardSecurityGroup"
    NOTICES_TOPIC = "NoticesTopic"


REPOSITORIES = {
    Image.SERVE: Output.SERVE_REPOSITORY,
    Image.TRAIN: Output.TRAIN_REPOSITORY,
    Image.TRACKING: Output.TRACKING_REPOSITORY,
}
ROLES = {
    Role.TRAINING: Output.TRAINING_ROLE,
    Role.SERVING: Output.SERVING_ROLE,
    Role.TRACKING: Output.TRACKING_ROLE,
    Role.DEPLOYING: Output.DEPLOYING_ROLE,
    Role.INVOKING: Output.INVOKING_ROLE,
    Role.VIEWING: Output.VIEWING_ROLE,
}


class EndpointAlarm(StrEnum):
    """The alarms that may turn a deployment back; they are there before the endpoint is."""

    ERRORS = "5xx"
    LATENCY = "latency"
    RELEASE_CHECK = "release-check"


def stack_name(stage: Stage, part: Part) -> str:
    """Return a stack's name: `house-prices-dev-base`."""
    return f"{stage.prefix}-{part}"


def repository_name(stage: Stage, image: Image) -> str:
    """Return the name of an image's repository: `house-prices-dev/serve`."""
    return f"{stage.prefix}/{image}"


def alarm_name(stage: Stage, alarm: EndpointAlarm) -> str:
    """Return an alarm's name: `prod-endpoint-5xx`."""
    return f"{stage.endpoint}-{alarm}"


def image_parameter(stage: Stage) -> str:
    """Return the name of the SSM parameter that holds the digest of the tracking host's image.

    It says NO_IMAGE until one was pushed.
    """
    return f"/{stage.prefix}/tracking-image"


NO_IMAGE = "none"
FORWARDING_DOCUMENT = "AWS-StartPortForwardingSessionToRemoteHost"
"""What Session Manager forwards a port by, through a task, to a host that the task can reach."""
STARTED_BY = "make"
"""Whom ECS says that a forwarding task was started by."""
BALANCER_IDLE_SECONDS = 120
"""After which a load balancer closes a connection that nothing went through. What is behind it has
to wait longer, or requests are sent into connections that are being closed (a 502).
"""
