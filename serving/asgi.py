"""Requests and responses in ASGI's terms: read a body within the limits, send a response."""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from serving.errors import RequestError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

MAX_DRAINED_BYTES, DRAIN_TIMEOUT_SECONDS = 256 * 2**20, 10.0
"""How much of a rejected body is read and discarded, so that the client receives the response."""


@dataclass
class Response:
    """An HTTP response."""

    body: bytes
    status: int = 200
    media_type: str = "application/json"
    headers: Headers | None = None
    row_count: int = 0
    """The number of predictions, for the request log."""
    error_code: str = ""
    drain: bool = False
    """Whether the client may still be sending a body, which is discarded."""

    @classmethod
    def from_error(cls, error: RequestError, headers: Headers | None = None) -> "Response":
        """Return the response to an invalid request."""
        body = json.dumps({"error_code": error.error_code, "message": str(error)}).encode()
        # Otherwise the rest of its body would be parsed as the start of the next request.
        drain = error.status in {408, 413}
        return cls(body, error.status, headers=headers, error_code=error.error_code, drain=drain)


class ClientDisconnectedError(Exception):
    """The client closed the connection before it had sent the whole body."""


def get_header(scope: Scope, wanted: bytes) -> str:
    """Return a request header, or the empty string; `wanted` is lowercase."""
    for name, value in scope["headers"]:
        if name == wanted:
            text: str = value.decode("latin-1")
            return text
    return ""


async def read_body(
    scope: Scope, receive: Receive, *, max_megabytes: float, timeout_seconds: float
) -> bytes:
    """Return the body of a request.

    Raises:
        RequestError: The body is too large (413), or doesn't arrive in time (408).
        ClientDisconnectedError: The client closed the connection.
    """
    max_bytes = int(max_megabytes * 2**20)
    content_length = get_header(scope, b"content-length")
    if content_length.isdigit() and int(content_length) > max_bytes:
        raise _body_too_large(max_megabytes)
    chunks, size = [], 0
    try:
        async with asyncio.timeout(timeout_seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnectedError
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > max_bytes:
                    raise _body_too_large(max_megabytes)
                chunks.append(chunk)
                if not message.get("more_body"):
                    return b"".join(chunks)
    except TimeoutError:
        reason = f"the body did not arrive within {timeout_seconds:g} s"
        raise RequestError(reason, 408, "DEADLINE_EXCEEDED") from None


def _body_too_large(max_megabytes: float) -> RequestError:
    reason = f"the body is larger than {max_megabytes:g} MB"
    return RequestError(reason, 413, "REQUEST_LIMIT_EXCEEDED")


async def send_response(response: Response, receive: Receive, send: Send) -> None:
    """Send a response; if its request was rejected, discard the rest of the body."""
    headers = [
        (b"content-type", response.media_type.encode()),
        (b"content-length", str(len(response.body)).encode()),
        *(response.headers or []),
    ]
    if response.drain:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": response.drain})
    if response.drain:
        await _drain(receive)
        await send({"type": "http.response.body", "body": b""})


async def _drain(receive: Receive) -> None:
    """Read and discard the rest of a body, up to a size and a time.

    Closing the connection while the client is still sending would lose the response.
    """
    size = 0
    try:
        async with asyncio.timeout(DRAIN_TIMEOUT_SECONDS):
            while size < MAX_DRAINED_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return
    except TimeoutError:
        return
