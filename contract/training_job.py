"""What the request of a SageMaker training job and the job's container agree on."""

from enum import StrEnum


class Channel(StrEnum):
    """The input channels of a job; each is a folder below /opt/ml/input/data."""

    CONFIG = "config"
    """The settings: one file, SETTINGS_FILE or a settings.toml."""
    TRAIN = "train"
    TEST = "test"
    TEST_LABELS = "test_labels"


TABLE_KEYS = {Channel.TRAIN: "train", Channel.TEST: "test", Channel.TEST_LABELS: "test_labels"}
"""The key of `[data]` that names the table of each channel."""
SETTINGS_FILE = "settings.json"
RESULT_FILE = "result.json"
"""The result of the training, in /opt/ml/output/data."""
FORCE = "force"
"""The hyperparameter that trains combinations again which are tracked already: `true` or `false`.

The other hyperparameters override settings: `training.families` is the key `families` of
`[training]`.
"""


class JobVariable(StrEnum):
    """The environment variables of a job, besides MLflow's own and SageMaker's."""

    PASSWORD_SECRET = "MLFLOW_TRACKING_PASSWORD_SECRET"  # noqa: S105 - a name, not a secret
    """The ARN of the secret in Secrets Manager that holds the password of MLflow's user."""
    RESUME_ID = "TRAINING_RESUME_ID"
    """The name of the first of the jobs that resume one another; all of them receive it."""
    GIT_COMMIT = "TRAINING_GIT_COMMIT"
    """The commit that the job was started from; the image contains no repository."""
    TRAIN_IMAGE = "TRAINING_TRAIN_IMAGE"
    """The digest of the image that the job runs."""
    SERVE_IMAGE = "TRAINING_SERVE_IMAGE"
    """The digest of the serving image that belongs to the release; empty if none was pushed."""
    HOURLY_USD = "TRAINING_HOURLY_USD"
    """The price of one instance per hour, in US dollars."""
