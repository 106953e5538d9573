"""The router: a process that implements SageMaker's runtime API in front of the local backends.

It forwards `POST /endpoints/<name>/invocations` to the live backend in the endpoint's state, over
connections that it keeps open. It reads the live backend for each request, so that a deployment
takes effect at once; a request in progress stays with the backend that it was sent to.
It also bounds the size of all log files; see `endpoints.logs`.

Errors have the form that botocore's `sagemaker-runtime` client parses: ValidationError (there is no
such endpoint), ModelError (the backend returned an error) and ServiceUnavailable (the backend can't
be reached).
Source: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
"""

import argparse
import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import aiohttp
from aiohttp import web

from contract.errors import EndpointError
from contract.names import PRODUCTION_VARIANT
from contract.response_attributes import HEADER
from endpoints.logs import rotate_periodically
from endpoints.ports import HOST
from endpoints.state import STATE_FILE, Backend, State, load_state, router_code_digest

MAX_BODY_BYTES = 25 * 2**20
"""SageMaker's own limit."""
RESPONSE_TIMEOUT_SECONDS = 60.0
"""How long SageMaker waits for a container's response."""
CONNECT_TIMEOUT_SECONDS = 5.0
SHUTDOWN_TIMEOUT_SECONDS = 25.0
KEEPALIVE_SECONDS = 30.0
ENDPOINTS_FOLDER = web.AppKey("endpoints_folder", Path)
ENDPOINT_NAME = re.compile("[A-Za-z0-9-]{1,63}")
FORWARDED_HEADERS = ("Content-Type", "Accept", "X-Amzn-SageMaker-Inference-Id", HEADER)
TIMEOUT_MESSAGE = "Your invocation timed out while waiting for a response from container primary."
"""SageMaker's own message."""


class Router:
    """Forwards requests to the backends of all endpoints in a folder."""

    def __init__(self, endpoints_folder: Path, session: aiohttp.ClientSession) -> None:
        """Store the folder of all endpoints, and the session for connections to backends."""
        self._endpoints_folder = endpoints_folder
        self._session = session
        # Computed now: the files may be changed while this process runs.
        self._code_digest = router_code_digest()
        self._cache: dict[str, tuple[tuple[int, int], State]] = {}

    def load_state(self, name: str) -> State:
        """Return the current state of an endpoint; while it can't be parsed, the last valid one."""
        if not ENDPOINT_NAME.fullmatch(name):
            return State()
        file = f"{self._endpoints_folder}/{name}/{STATE_FILE}"
        try:
            found = os.stat(file)  # noqa: PTH116 - for each request; a Path takes twice as long
        except OSError:
            self._cache.pop(name, None)
            return State()
        version = (found.st_ino, found.st_mtime_ns)
        cached = self._cache.get(name)
        if cached and cached[0] == version:
            return cached[1]
        try:
            state = load_state(self._endpoints_folder / name)
        except EndpointError:
            state = cached[1] if cached else State()
        self._cache[name] = (version, state)
        return state

    async def invoke(self, request: web.Request) -> web.Response:
        """Handle POST /endpoints/<name>/invocations."""
        name = request.match_info["name"]
        if (request.content_length or 0) > MAX_BODY_BYTES:
            return _too_large()
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _too_large()
        # Not before: while a slow client sends the body, another backend may become live.
        live = self.load_state(name).live
        if live is None:
            return _error(400, "ValidationError", f"Endpoint {name} not found.")
        headers = {key: request.headers[key] for key in FORWARDED_HEADERS if key in request.headers}
        try:
            return await self._forward(live, body, headers)
        except TimeoutError:
            return _model_error(0, TIMEOUT_MESSAGE)
        except (aiohttp.ClientError, OSError):
            reason = f"{name}: {live.name} does not respond; run make status to restart it"
            return _error(503, "ServiceUnavailable", reason)

    async def _forward(self, live: Backend, body: bytes, headers: dict[str, str]) -> web.Response:
        url = f"http://{HOST}:{live.port}/invocations"
        try:
            response = await self._session.post(url, data=body, headers=headers)
        except aiohttp.ClientConnectorError:
            raise
        except aiohttp.ClientConnectionError:
            # The backend may close an idle connection at the moment when it is used. A retry is
            # safe, because a prediction has no side effects.
            response = await self._session.post(url, data=body, headers=headers)
        async with response:
            content = await response.read()
        if response.status != 200:
            return _model_error(response.status, content.decode(errors="replace"))
        names = ("Content-Type", HEADER)
        returned = {name: response.headers[name] for name in names if name in response.headers}
        returned["x-Amzn-Invoked-Production-Variant"] = PRODUCTION_VARIANT
        returned["x-amzn-RequestId"] = str(uuid4())
        return web.Response(body=content, headers=returned)

    async def describe_endpoint(self, request: web.Request) -> web.Response:
        """Handle GET /endpoints/<name>: return the live and the previous backend."""
        name = request.match_info["name"]
        state = self.load_state(name)
        if state.live is None:
            return _error(400, "ValidationError", f"Endpoint {name} not found.")
        return web.json_response({"endpoint": name, **state.model_dump(mode="json")})

    async def get_info(self, _: web.Request) -> web.Response:
        """Handle GET /router: return the folder of the endpoints, the process id and the code."""
        return web.json_response(
            {
                "endpoints_folder": str(self._endpoints_folder),
                "pid": os.getpid(),
                "code_digest": self._code_digest,
            }
        )

    async def ping(self, _: web.Request) -> web.Response:
        """Handle GET /ping: the router runs; this does not check the endpoints."""
        return web.Response()


def _too_large() -> web.Response:
    return _error(413, "", f"HTTP content length exceeded {MAX_BODY_BYTES} bytes.")


def _model_error(status: int, content: str) -> web.Response:
    side = "client" if 400 <= status < 500 else "server"
    message = f'Received {side} error ({status}) from primary with message "{content}"'
    fields: dict[str, str | int] = {"OriginalStatusCode": status, "OriginalMessage": content}
    return _error(424, "ModelError", message, fields)


def _error(
    status: int, error_type: str, message: str, fields: dict[str, str | int] | None = None
) -> web.Response:
    headers = {"x-amzn-RequestId": str(uuid4())}
    if error_type:
        headers["x-amzn-ErrorType"] = error_type
    content = json.dumps({"Message": message, **(fields or {})})
    return web.Response(
        status=status, text=content, content_type="application/json", headers=headers
    )


def _create_session() -> aiohttp.ClientSession:
    # No limit of connections: otherwise a request would wait for the responses to others.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS)
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(
            RESPONSE_TIMEOUT_SECONDS, sock_connect=CONNECT_TIMEOUT_SECONDS
        ),
        auto_decompress=False,
        skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


async def _rotate_logs(app: web.Application) -> AsyncIterator[None]:
    task = asyncio.create_task(rotate_periodically(app[ENDPOINTS_FOLDER]))
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _create_app(endpoints_folder: Path) -> web.Application:
    session = _create_session()
    router = Router(endpoints_folder, session)
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app[ENDPOINTS_FOLDER] = endpoints_folder
    app.router.add_post("/endpoints/{name}/invocations", router.invoke)
    app.router.add_get("/endpoints/{name}", router.describe_endpoint)
    app.router.add_get("/router", router.get_info)
    app.router.add_get("/ping", router.ping)

    async def close(_: web.Application) -> None:
        await session.close()

    app.on_cleanup.append(close)
    app.cleanup_ctx.append(_rotate_logs)
    return app


def main() -> int:
    """Run the router until SIGTERM, then finish the requests in progress."""
    parser = argparse.ArgumentParser("endpoints.router")
    parser.add_argument("--endpoints-folder", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    loop = _new_event_loop()
    try:
        web.run_app(
            _create_app(arguments.endpoints_folder),
            host=HOST,
            port=arguments.port,
            access_log=None,
            handle_signals=True,
            shutdown_timeout=SHUTDOWN_TIMEOUT_SECONDS,
            print=lambda *_: None,
            loop=loop,
        )
    except OSError as error:
        print(f"error: {error.strerror}", file=sys.stderr)
        return 2
    return 0


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - not available on every system
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


if __name__ == "__main__":
    sys.exit(main())
