"""Add a person to a stage's MLflow, and say what they may do there: `make mlflow-user`."""

import logging
import secrets
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import typer

from contract.errors import TrackingError
from contract.names import MlflowUser, StackName, StackOutput
from contract.settings.loader import load_settings
from endpoints.ports import find_free_port
from scripts.aws.account import Account, errors
from scripts.aws.mlflow_users import ALL, Kind, Users
from scripts.aws.port_forwarding import forwarded
from scripts.console import main

logger = logging.getLogger(__name__)


class Permission(StrEnum):
    """What MLflow lets a user do with an experiment or a registered model."""

    READ = "READ"
    USE = "USE"
    EDIT = "EDIT"
    MANAGE = "MANAGE"
    NONE = "NONE"
    """What was granted is taken back."""


def command(
    name: Annotated[str, typer.Argument(help="The user's name.")],
    permission: Annotated[
        Permission | None,
        typer.Option(case_sensitive=False, help="To grant; READ where none is named."),
    ] = None,
    experiment: Annotated[
        list[str] | None, typer.Option(help="On this experiment alone; on all else.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="On this registered model alone; on all else.")
    ] = None,
    new_password: Annotated[bool, typer.Option(help="Make a new password.")] = False,
    remove: Annotated[bool, typer.Option(help="Remove the user.")] = False,
) -> None:
    """Add a person to a stage's MLflow, change what they may do, or remove them.

    Nobody sees what nobody has granted. A password is made, and shown this once.
    """
    stage = load_settings().get_stage()
    if name in set(MlflowUser):
        raise TrackingError(f"{name} is the stack's own user: its password is in Secrets Manager")
    account = Account(stage)
    secret = account.outputs(StackName.MLFLOW)[StackOutput.MLFLOW_ADMIN_SECRET]
    with errors("the admin's password"):
        found = account.client("secretsmanager").get_secret_value(SecretId=secret)
    with forwarded(account, find_free_port()) as way:
        users = Users(way.pool, MlflowUser.ADMIN, found["SecretString"])
        if remove:
            users.remove(name)
            logger.info(f"Removed {name} from MLflow of {stage.prefix}")
            return
        places = _places(users, experiment or (), model or ())
        new = not users.has(name)
        if new or new_password:
            _give_password(users, name, new=new)
        if new or permission or experiment or model:
            _grant(users, name, permission or Permission.READ, places)
        elif not new_password:
            logger.info(
                f"{name} is there already, and nothing was to be changed (--help tells what can)"
            )


Places = Sequence[tuple[Kind, str, str]]
"""What is granted on: its kind, MLflow's id of it, and its name for people."""


def _places(users: Users, experiments: Sequence[str], models: Sequence[str]) -> Places:
    """Find them all before anything is changed."""
    if not experiments and not models:
        return [(kind, ALL, f"all {kind.value.replace('_', ' ')}s") for kind in Kind]
    return [
        *((Kind.EXPERIMENT, users.experiment_id(one), f"experiment {one}") for one in experiments),
        *((Kind.MODEL, users.model_id(one), f"registered model {one}") for one in models),
    ]


def _give_password(users: Users, name: str, *, new: bool) -> None:
    """Make a password, and show it at once, whatever comes after."""
    password = secrets.token_urlsafe(18)
    (users.create if new else users.change_password)(name, password)
    logger.info(f"The password of {name} in MLflow, shown this once:")
    print(password, flush=True)


def _grant(users: Users, name: str, permission: Permission, places: Places) -> None:
    for kind, key, words in places:
        users.revoke(name, kind, key)  # MLflow knows no change of a grant
        if permission is not Permission.NONE:
            users.grant(name, kind, key, permission)
        logger.info(f"{name} has {permission} on {words}")


if __name__ == "__main__":
    main(command)
