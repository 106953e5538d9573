"""Who calls what: a record of every request to the emulated account, and faults to inject.

Each request is signed with an access key. That of an assumed role belongs to the role
(IAM/latest/UserGuide/reference_policies_variables.html: `aws:PrincipalArn`); any other one is the
account's own. Signatures are not verified.
"""

import io
import json
import re
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from moto.sts.models import sts_backends

from tests.emulator.account import ACCOUNT, CALLS_FILE, FAULTS_FILE

CREDENTIAL = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/aws4_request")
PREFIXES = {"monitoring": "cloudwatch"}
"""The services whose name in a signature differs from the prefix of their actions in IAM."""
WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Calls:
    """A WSGI application in front of moto's."""

    def __init__(self, app: WsgiApp, folder: Path) -> None:
        self._app, self._folder = app, folder
        self._lock = threading.Lock()

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        service, action = _action(environ)
        key = _access_key(environ)
        with self._lock, (self._folder / CALLS_FILE).open("a") as file:
            call = {"caller": caller_arn(key), "service": service, "action": action}
            file.write(json.dumps({**call, "path": environ["PATH_INFO"]}) + "\n")
        if fault := self._find_fault(service, action, key):
            body = _error(start_response, service, **fault)
            # https://www.rfc-editor.org/rfc/rfc9110#name-head: clients learn the status only.
            return [] if environ["REQUEST_METHOD"] == "HEAD" else body
        return self._app(environ, start_response)

    def _find_fault(self, service: str, action: str, key: str) -> dict[str, Any] | None:
        """Return the fault that a test has injected for a call.

        The file lists faults: `action` (or `*`), `code`, `status`, `message`, and optionally
        `until` (seconds since 1970) and `access_key`.
        """
        file = self._folder / FAULTS_FILE
        for fault in json.loads(file.read_text()) if file.exists() else []:
            if (
                fault["action"] in {action, "*", f"{service}:{action}"}
                and time.time() < fault.get("until", float("inf"))
                and fault.get("access_key", key) == key
            ):
                return {name: fault[name] for name in ("code", "status", "message")}
        return None


def caller_arn(access_key: str) -> str:
    """Return the ARN of an access key's role, or that of the account."""
    for backends in sts_backends.values():
        for backend in backends.values():
            if role := backend.get_assumed_role_from_access_key(access_key):
                return str(role.role_arn)
    return f"arn:aws:iam::{ACCOUNT}:root"


def _access_key(environ: dict[str, Any]) -> str:
    found = CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
    return str(found[1]) if found else ""


def _action(environ: dict[str, Any]) -> tuple[str, str]:
    """Return the service, as in IAM's actions, and the operation; for S3 the IAM action."""
    found = CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
    service = found[3] if found else ""
    if target := environ.get("HTTP_X_AMZ_TARGET", ""):
        return PREFIXES.get(service, service), str(target).rpartition(".")[2]
    if service == "s3":
        return service, _s3_action(environ)
    return PREFIXES.get(service, service), _query_action(environ)


def _s3_action(environ: dict[str, Any]) -> str:
    """Return the action that S3 requires for a request in path style: `/bucket/key`.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
    """
    method, key = environ["REQUEST_METHOD"], environ["PATH_INFO"].lstrip("/").partition("/")[2]
    if not key:
        return {"GET": "ListBucket", "HEAD": "ListBucket"}.get(method, f"{method} bucket")
    actions = {"GET": "GetObject", "HEAD": "GetObject", "PUT": "PutObject", "POST": "PutObject"}
    return actions.get(method, f"{method.title()}Object")


def _query_action(environ: dict[str, Any]) -> str:
    """Return the `Action` of a service with the query protocol; its body is read and put back."""
    if "form" not in environ.get("CONTENT_TYPE", ""):
        return f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    actions = parse_qs(body.decode(errors="replace")).get("Action", [""])
    return str(actions[0])


def _error(
    start_response: Callable[..., Any], service: str, code: str, status: int, message: str
) -> Iterable[bytes]:
    """Return an error in the format of the service's protocol: XML for S3 and queries, or JSON."""
    if service in {"s3", "sts", "iam", "cloudformation"}:
        content_type = "text/xml"
        error = f"<Code>{code}</Code><Message>{message}</Message>"
        body = f"<ErrorResponse><Error>{error}</Error></ErrorResponse>"
        if service == "s3":
            body = f"<Error>{error}</Error>"
    else:
        content_type = "application/x-amz-json-1.1"
        body = json.dumps({"__type": code, "message": message})
    start_response(f"{status} Error", [("Content-Type", content_type)])
    return [body.encode()]
