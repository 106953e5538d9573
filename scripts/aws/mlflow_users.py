"""A client of MLflow's user and permission API, for its admin; without MLflow's libraries."""

import json
import logging
from collections.abc import Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from urllib3 import BaseHTTPResponse, HTTPConnectionPool, make_headers
from urllib3.exceptions import HTTPError

from contract.errors import TrackingError

logger = logging.getLogger(__name__)

ALL_RESOURCES = "*"
"""The resource ID that stands for all resources of a type, those created later included."""
TIMEOUT_SECONDS = 30
NOT_FOUND = "RESOURCE_DOES_NOT_EXIST"


class ResourceType(StrEnum):
    """The types of resources that MLflow grants permissions on."""

    EXPERIMENT = "experiment"
    MODEL = "registered_model"


class Permission(StrEnum):
    """What MLflow allows a user to do with an experiment or a registered model."""

    READ = "READ"
    USE = "USE"
    EDIT = "EDIT"
    MANAGE = "MANAGE"
    NONE = "NONE"
    """Revokes the permission that was granted before."""


class UserClient:
    """Manages users and their permissions.

    Each method raises a TrackingError if the server denies the request or does not respond.
    """

    def __init__(self, pool: HTTPConnectionPool, admin: str, password: str) -> None:
        """Store the connection and the admin's credentials; no request is sent yet."""
        self._pool = pool
        self._headers = {
            **pool.headers,
            **make_headers(basic_auth=f"{admin}:{password}"),
            "Content-Type": "application/json",
        }

    def user_exists(self, name: str) -> bool:
        """Return whether a user exists."""
        user = self._request("GET", "users/get", {"username": name}, missing_ok=True)
        return user is not None

    def create_user(self, name: str, password: str) -> None:
        """Create a user, without permissions."""
        self._request("POST", "users/create", {"username": name, "password": password})

    def update_password(self, name: str, password: str) -> None:
        """Replace the password of a user."""
        self._request("PATCH", "users/update-password", {"username": name, "password": password})

    def delete_user(self, name: str) -> None:
        """Delete a user and the user's permissions."""
        self._request("DELETE", "users/delete", {"username": name})

    def set_permission(
        self, name: str, resource_type: ResourceType, resource_id: str, permission: Permission
    ) -> None:
        """Set the permission of a user on one resource, or on ALL_RESOURCES of a type."""
        grant = {"username": name, "resource_type": resource_type, "resource_id": resource_id}
        # MLflow can't change a permission: it is revoked and granted again.
        self._request("POST", "users/permissions/revoke", grant, "3.0", missing_ok=True)
        if permission is not Permission.NONE:
            grant = {**grant, "permission": permission}
            self._request("POST", "users/permissions/grant", grant, "3.0")

    def get_experiment_id(self, name: str) -> str:
        """Return the ID of an experiment."""
        response = self._request("GET", "experiments/get-by-name", {"experiment_name": name})
        return str(response["experiment"]["experiment_id"])

    def get_model_id(self, name: str) -> str:
        """Return the ID of a registered model, which is its name, after checking that it exists."""
        response = self._request("GET", "registered-models/get", {"name": name})
        return str(response["registered_model"]["name"])

    def _request(
        self,
        method: str,
        path: str,
        fields: Mapping[str, str],
        version: str = "2.0",
        *,
        missing_ok: bool = False,
    ) -> Any:  # noqa: ANN401 - JSON
        """Return the parsed response; None where nothing is found and `missing_ok` is set."""
        response = self._send(method, f"/api/{version}/mlflow/{path}", fields)
        try:
            content = json.loads(response.data)
        except ValueError:
            content = {}
        if response.status == HTTPStatus.OK:
            return content
        if missing_ok and content.get("error_code") == NOT_FOUND:
            return None
        reason = content.get("message") or response.data.decode(errors="replace").strip()
        raise TrackingError(f"MLflow: {response.status}: {' '.join(reason.split())[:300]}")

    def _send(self, method: str, url: str, fields: Mapping[str, str]) -> BaseHTTPResponse:
        body: str | None = json.dumps(fields)
        if method == "GET":
            url, body = f"{url}?{urlencode(fields)}", None
        logger.debug("%s %s", method, url)
        try:
            return self._pool.request(
                method,
                url,
                body=body,
                headers=self._headers,
                timeout=TIMEOUT_SECONDS,
                retries=False,
            )
        except HTTPError as error:
            raise TrackingError(f"MLflow does not respond: {error}") from None
