"""The exception tree: a `StackError` is an error that the user can fix; anything else is a defect.

StackError
  +-- SettingsError     settings.toml or an environment variable
  +-- DataError         a table: its file, columns or rows
  +-- FamilyError       a model family, its grid or its parameters
  +-- TrackingError     the MLflow store or server
  +-- WorkerError       the worker process, which fits the models
  +-- HostError         another host of a training job that has several
  +-- ReleaseError      a release: its model or its files
  |     +-- ReleaseStoreError    the store of releases can't be read or written
  +-- EndpointError     an endpoint: its processes, its port or its responses
  |     +-- SmokeTestError   its predictions are wrong: exit code 1 (endpoints/smoke_test.py)
  +-- TrainingJobError  a training job on SageMaker
  +-- InfraError        the stacks on AWS: the CDK, CloudFormation or an account
  +-- RequestError      a request to an endpoint (serving/errors.py)
"""


class StackError(Exception):
    """An error that its one-line message explains; a command then exits with `exit_code`."""

    exit_code = 2


class SettingsError(StackError):
    """A setting is unknown, of the wrong type or out of range; the message names its key."""


class DataError(StackError):
    """A table can't be used; the message names the file and the column or row."""


class FamilyError(StackError):
    """A family is unknown or incomplete, or its grid is empty or has an unknown parameter."""


class TrackingError(StackError):
    """The MLflow store can't be reached, refuses a request, or lacks what was requested."""


class WorkerError(StackError):
    """The worker process stopped unexpectedly; the message gives its exit code or signal."""


class HostError(StackError):
    """Another host of the job failed, stopped or sends no heartbeat; the message names it."""


class ReleaseError(StackError):
    """A model can't be released, or a release can't be used; the message names the file or row."""


class ReleaseStoreError(ReleaseError):
    """The release store can't be read or written; the message gives its URI and the reason."""


class EndpointError(StackError):
    """An endpoint can't be deployed, reached or removed; the message gives its state."""


class TrainingJobError(StackError):
    """A training job failed or was stopped; the message gives the reason and what to do."""


class InfraError(StackError):
    """The stacks on AWS can't be created, changed, read or removed; the message gives the cause."""
