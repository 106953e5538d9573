"""The front: a process that answers as SageMaker's runtime does, and asks the live backend.

`POST /endpoints/<name>/invocations` goes to the backend that the endpoint's state names, over
connections that stay. Whose turn it is, is decided anew for each request; one that is under way
ends where it began.

Errors have the form that botocore's `sagemaker-runtime` knows: ValidationError (no such endpoint),
ModelError (the backend refuses), ServiceUnavailable (it can't be reached).
Source: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
"""

import argparse
import asyncio
import json
import os
import re
import sys
from pathlib import Path
from uuid import uuid4

import aiohttp
from aiohttp import web

from contract.errors import EndpointError
from contract.names import PRODUCTION_VARIANT
from contract.response_attributes import HEADER
from endpoints.ports import HOST
from endpoints.state import STATE, Backend, State, code_digest, load_state

MAX_BODY = 25 * 2**20
"""SageMaker's own limit."""
ANSWER_SECONDS = 60.0
"""How long SageMaker waits for a container's answer."""
GRACE_SECONDS = 25.0
CONNECT_SECONDS = 5.0
NAME = re.compile("[A-Za-z0-9-]{1,63}")
TO_BACKEND = ("Content-Type", "Accept", "X-Amzn-SageMaker-Inference-Id", HEADER)
TIMED_OUT = "Your invocation timed out while waiting for a response from container primary."


class Router:
    """Forwards requests to the backends of all endpoints in a folder."""

    def __init__(self, home: Path, session: aiohttp.ClientSession) -> None:
        """Take where the endpoints are, and a session without connections yet."""
        self._home = home
        self._session = session
        self._code = code_digest()
        self._known: dict[str, tuple[tuple[int, int], State]] = {}

    def state(self, name: str) -> State:
        """Return what an endpoint is at this moment; an unreadable state is passed over."""
        if not NAME.fullmatch(name):
            return State()
        file = f"{self._home}/{name}/{STATE}"
        try:
            found = os.stat(file)  # noqa: PTH116 - a Path takes as long again, a request each
        except OSError:
            self._known.pop(name, None)
            return State()
        stamp = (found.st_ino, found.st_mtime_ns)
        before = self._known.get(name)
        if before and before[0] == stamp:
            return before[1]
        try:
            state = load_state(self._home / name)
        except EndpointError:
            state = before[1] if before else State()
        self._known[name] = (stamp, state)
        return state

    async def invoke(self, request: web.Request) -> web.Response:
        """Answer POST /endpoints/<name>/invocations."""
        name = request.match_info["name"]
        if (request.content_length or 0) > MAX_BODY:
            return _too_large()
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _too_large()
        # Only now: by the time that a slow client has sent it all, another may be live.
        live = self.state(name).live
        if live is None:
            return _error(400, "ValidationError", f"Endpoint {name} not found.")
        headers = {key: request.headers[key] for key in TO_BACKEND if key in request.headers}
        try:
            return await self._forward(live, body, headers)
        except TimeoutError:
            return _model_error(0, TIMED_OUT)
        except (aiohttp.ClientError, OSError):
            reason = f"{live.name} does not answer behind {name}; make status repairs it"
            return _error(503, "ServiceUnavailable", reason)

    async def _forward(self, live: Backend, body: bytes, headers: dict[str, str]) -> web.Response:
        address = f"http://{HOST}:{live.port}/invocations"
        try:
            answer = await self._session.post(address, data=body, headers=headers)
        except aiohttp.ClientConnectorError:
            raise
        except aiohttp.ClientConnectionError:
            # A connection that had lain idle may be closed in the moment of its use. To ask for a
            # prediction twice changes nothing.
            answer = await self._session.post(address, data=body, headers=headers)
        async with answer:
            content = await answer.read()
        if answer.status != 200:
            return _model_error(answer.status, content.decode(errors="replace"))
        found = answer.headers
        passed = {key: found[key] for key in ("Content-Type", HEADER) if key in found}
        passed["x-Amzn-Invoked-Production-Variant"] = PRODUCTION_VARIANT
        passed["x-amzn-RequestId"] = str(uuid4())
        return web.Response(body=content, headers=passed)

    async def describe(self, request: web.Request) -> web.Response:
        """Answer GET /endpoints/<name>: what is live, and what a rollback goes back to."""
        name = request.match_info["name"]
        state = self.state(name)
        if state.live is None:
            return _error(400, "ValidationError", f"Endpoint {name} not found.")
        return web.json_response({"endpoint": name, **state.model_dump(mode="json")})

    async def introduce(self, _: web.Request) -> web.Response:
        """Answer GET /front: whose front this is, and of which code."""
        about = {"home": str(self._home), "pid": os.getpid(), "code": self._code}
        return web.json_response(about)

    async def ping(self, _: web.Request) -> web.Response:
        """Answer GET /ping: the front is there; whether an endpoint answers, asking it tells."""
        return web.Response()


def _too_large() -> web.Response:
    return _error(413, "", f"HTTP content length exceeded {MAX_BODY} bytes.")


def _model_error(status: int, content: str) -> web.Response:
    side = "client" if 400 <= status < 500 else "server"
    message = f'Received {side} error ({status}) from primary with message "{content}"'
    return _error(
        424, "ModelError", message, {"OriginalStatusCode": status, "OriginalMessage": content}
    )


def _error(
    status: int, kind: str, message: str, more: dict[str, str | int] | None = None
) -> web.Response:
    headers = {"x-amzn-RequestId": str(uuid4())} | ({"x-amzn-ErrorType": kind} if kind else {})
    content = json.dumps({"Message": message, **(more or {})})
    return web.Response(
        status=status, text=content, content_type="application/json", headers=headers
    )


async def _app(home: Path) -> web.Application:
    # Without a limit: each request waits for its answer and for nothing else.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
    session = aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(ANSWER_SECONDS, sock_connect=CONNECT_SECONDS),
        auto_decompress=False,
        skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
        cookie_jar=aiohttp.DummyCookieJar(),
    )
    router = Router(home, session)
    app = web.Application(client_max_size=MAX_BODY)
    app.router.add_post("/endpoints/{name}/invocations", router.invoke)
    app.router.add_get("/endpoints/{name}", router.describe)
    app.router.add_get("/router", router.introduce)
    app.router.add_get("/ping", router.ping)

    async def close(_: web.Application) -> None:
        await session.close()

    app.on_cleanup.append(close)
    return app


def main() -> int:
    """Serve until SIGTERM, which lets requests end."""
    parser = argparse.ArgumentParser("endpoints.router")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    loop = _fast_loop()
    try:
        web.run_app(
            _app(arguments.home),
            host=HOST,
            port=arguments.port,
            access_log=None,
            handle_signals=True,
            shutdown_timeout=GRACE_SECONDS,
            print=lambda *_: None,
            loop=loop,
        )
    except OSError as error:
        print(f"error: {error.strerror}", file=sys.stderr)
        return 2
    return 0


def _fast_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - not on every system
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


if __name__ == "__main__":
    sys.exit(main())
