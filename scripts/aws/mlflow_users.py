"""The users of an MLflow server, as its admin sees them: over HTTP, without MLflow's libraries."""

import json
from collections.abc import Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from urllib3 import HTTPConnectionPool, make_headers
from urllib3.exceptions import HTTPError

from contract.errors import TrackingError

ALL = "*"
"""Each of a kind, also those that come later."""
WAIT_SECONDS = 30
MISSING = "RESOURCE_DOES_NOT_EXIST"


class Kind(StrEnum):
    """What a grant is on, in MLflow's words."""

    EXPERIMENT = "experiment"
    MODEL = "registered_model"


class Users:
    """Adds, changes and removes users, and what they may do.

    Each method raises a TrackingError where the server refuses or doesn't answer.
    """

    def __init__(self, pool: HTTPConnectionPool, admin: str, password: str) -> None:
        """Ask nothing yet."""
        self._pool = pool
        self._headers = {
            **pool.headers,
            **make_headers(basic_auth=f"{admin}:{password}"),
            "Content-Type": "application/json",
        }

    def has(self, name: str) -> bool:
        """Tell whether there is such a user."""
        return self._ask("GET", "users/get", {"username": name}, missing=True) is not None

    def create(self, name: str, password: str) -> None:
        """Add a user, who may do nothing yet."""
        self._ask("POST", "users/create", {"username": name, "password": password})

    def change_password(self, name: str, password: str) -> None:
        """Give a user another password."""
        self._ask("PATCH", "users/update-password", {"username": name, "password": password})

    def remove(self, name: str) -> None:
        """Remove a user, with all that was granted."""
        self._ask("DELETE", "users/delete", {"username": name})

    def grant(self, name: str, kind: Kind, key: str, permission: str) -> None:
        """Let a user do something with a thing, or with ALL of a kind."""
        wish = {"username": name, "resource_type": kind, "resource_id": key}
        self._ask("POST", "users/permissions/grant", {**wish, "permission": permission}, "3.0")

    def revoke(self, name: str, kind: Kind, key: str) -> None:
        """Take a grant back, if there is one."""
        wish = {"username": name, "resource_type": kind, "resource_id": key}
        self._ask("POST", "users/permissions/revoke", wish, "3.0", missing=True)

    def experiment_id(self, name: str) -> str:
        """Return MLflow's id of an experiment."""
        found = self._ask("GET", "experiments/get-by-name", {"experiment_name": name})
        return str(found["experiment"]["experiment_id"])

    def model_id(self, name: str) -> str:
        """Return MLflow's id of a registered model, which is its name, if there is one."""
        found = self._ask("GET", "registered-models/get", {"name": name})
        return str(found["registered_model"]["name"])

    def _ask(
        self,
        method: str,
        path: str,
        fields: Mapping[str, str],
        version: str = "2.0",
        *,
        missing: bool = False,
    ) -> Any:  # noqa: ANN401 - JSON
        """Return the answer; None where there is no such thing and `missing` may be."""
        address = f"/api/{version}/mlflow/{path}"
        body = json.dumps(fields)
        if method == "GET":
            address, body = f"{address}?{urlencode(fields)}", ""
        try:
            reply = self._pool.request(
                method,
                address,
                body=body or None,
                headers=self._headers,
                timeout=WAIT_SECONDS,
                retries=False,
            )
        except HTTPError as error:
            raise TrackingError(f"MLflow: no answer: {error}") from None
        try:
            answer = json.loads(reply.data)
        except ValueError:
            answer = {}
        if reply.status == HTTPStatus.OK:
            return answer
        if missing and answer.get("error_code") == MISSING:
            return None
        said = answer.get("message") or reply.data.decode(errors="replace").strip()
        raise TrackingError(f"MLflow: {reply.status}: {' '.join(said.split())[:300]}")
