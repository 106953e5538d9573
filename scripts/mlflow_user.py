"""Add a user to a stage's MLflow, or change the user's permissions: `make mlflow-user`."""

import logging
import secrets
from collections.abc import Sequence
from typing import Annotated

import typer

from aws.account import AwsAccount, aws_errors
from contract.errors import TrackingError
from contract.names import MlflowUser, StackName, StackOutput
from contract.settings.loader import load_settings
from endpoints.ports import find_free_port
from scripts.aws.mlflow_users import ALL_RESOURCES, Permission, ResourceType, UserClient
from scripts.aws.port_forwarding import forward_port
from scripts.console import main

logger = logging.getLogger(__name__)

Resources = Sequence[tuple[ResourceType, str, str]]
"""Resources that a permission is set on: the type, MLflow's ID, and a description."""


def command(
    name: Annotated[str, typer.Argument(help="The user's name.")],
    permission: Annotated[
        Permission | None,
        typer.Option(case_sensitive=False, help="The permission to grant; by default READ."),
    ] = None,
    experiment: Annotated[
        list[str] | None, typer.Option(help="Only on this experiment; by default on all.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Only on this registered model; by default on all.")
    ] = None,
    new_password: Annotated[bool, typer.Option(help="Generate a new password.")] = False,
    remove: Annotated[bool, typer.Option(help="Remove the user.")] = False,
) -> None:
    """Add a user to a stage's MLflow, change the user's permissions, or remove the user.

    Users see only what they have a permission on. The password is generated, and printed once.
    """
    if name in set(MlflowUser):
        raise TrackingError(f"{name} is the stack's own user; its password is in Secrets Manager")
    account = AwsAccount(load_settings().get_stage())
    password = _admin_password(account)
    with forward_port(account, find_free_port()) as forwarding:
        users = UserClient(forwarding.pool, MlflowUser.ADMIN, password)
        if remove:
            users.delete_user(name)
            logger.info("Removed %s from MLflow of %s", name, account.stage.prefix)
            return
        # All are looked up before anything is changed.
        resources = _find_resources(users, experiment or (), model or ())
        is_new = not users.user_exists(name)
        sets_permission = bool(is_new or permission or experiment or model)
        if is_new or new_password:
            _set_password(users, name, is_new)
        if sets_permission:
            _set_permission(users, name, permission or Permission.READ, resources)
        elif not new_password:
            logger.info("%s already exists, and no change was requested (see --help)", name)


def _admin_password(account: AwsAccount) -> str:
    secret = account.outputs(StackName.MLFLOW)[StackOutput.MLFLOW_ADMIN_SECRET]
    with aws_errors("the admin's password"):
        response = account.client("secretsmanager").get_secret_value(SecretId=secret)
    return str(response["SecretString"])


def _find_resources(
    users: UserClient, experiments: Sequence[str], models: Sequence[str]
) -> Resources:
    if not experiments and not models:
        return [
            (kind, ALL_RESOURCES, f"all {kind.value.replace('_', ' ')}s") for kind in ResourceType
        ]
    return [
        *(
            (
                ResourceType.EXPERIMENT,
                users.get_experiment_id(experiment),
                f"experiment {experiment}",
            )
            for experiment in experiments
        ),
        *(
            (ResourceType.MODEL, users.get_model_id(model), f"registered model {model}")
            for model in models
        ),
    ]


def _set_password(users: UserClient, name: str, is_new: bool) -> None:
    """Generate a password, and print it at once, so that no later failure can lose it."""
    password = secrets.token_urlsafe(18)
    if is_new:
        users.create_user(name, password)
    else:
        users.update_password(name, password)
    logger.info("Password of %s in MLflow, printed only once:", name)
    print(password, flush=True)


def _set_permission(
    users: UserClient, name: str, permission: Permission, resources: Resources
) -> None:
    for resource_type, resource_id, description in resources:
        users.set_permission(name, resource_type, resource_id, permission)
        logger.info("%s has %s on %s", name, permission, description)


if __name__ == "__main__":
    main(command)
