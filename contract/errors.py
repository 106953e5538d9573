"""The error tree: what a user can mend is a `StackError`; anything else is a defect.

StackError
  +-- SettingsError     settings.toml or an environment variable
  +-- DataError         a table: its file, columns or rows
  +-- FamilyError       a family of models, its grid or its parameters
  +-- TrackingError     the MLflow store or server
  +-- WorkerError       the process that fits
  +-- ReleaseError      a release: its model, its files or its store
  +-- EndpointError     an endpoint: its processes, its port or its answers
  +-- InfraError        the stacks on AWS: the CDK, CloudFormation or an account
  +-- RequestError      what a client of an endpoint has sent (serving/errors.py)
"""


class StackError(Exception):
    """An error that its one-line message explains; a command then exits with `exit_code`."""

    exit_code = 2


class SettingsError(StackError):
    """A setting is unknown, of the wrong type or out of range; the message names its key."""


class DataError(StackError):
    """A table can't be used; the message names the file and the column or row."""


class FamilyError(StackError):
    """A family is unknown or incomplete, or its grid is empty or names a foreign parameter."""


class TrackingError(StackError):
    """The tracking store is out of reach, refuses, or doesn't hold what was asked for."""


class WorkerError(StackError):
    """The process that fits ended by itself; the message says how."""


class ReleaseError(StackError):
    """A model can't be released, or a release can't be used; the message names the file or row."""


class EndpointError(StackError):
    """An endpoint can't be deployed, asked or taken down; the message says where it stands."""


class InfraError(StackError):
    """The stacks on AWS can't be made, changed, read or removed; the message says which and why."""
