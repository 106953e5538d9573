"""The ASGI app: SageMaker's container contract and MLflow's scoring protocol.

It is written on bare ASGI because it has five routes, and a framework's share of a request would be
larger than the prediction's.

Sources: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html and
https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally.
"""

import asyncio
import json
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contract.response_attributes import HEADER, format_attributes
from contract.settings.sections import ServingSettings
from serving.errors import RequestError
from serving.log import log_exception, log_request

if TYPE_CHECKING:
    from serving.model import Model

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

ROUTES = {
    "/ping": "GET",
    "/health": "GET",
    "/version": "GET",
    "/openapi.json": "GET",
    "/invocations": "POST",
}
SMALL_BODY = 16 * 1024
"""Bytes: a larger one is answered in a thread, so that /ping needn't wait for it."""
DRAINED, DRAIN_SECONDS = 256 * 2**20, 10.0
"""How much of a refused body is read, and forgotten, for the client to see the answer."""
PLAIN = "text/plain; charset=utf-8"


@dataclass
class Response:
    """What is sent back."""

    body: bytes
    status: int = 200
    media_type: str = "application/json"
    headers: Headers | None = None
    rows: int = 0
    error_code: str = ""
    drain: bool = False
    """Whether a body is still coming that nobody wants."""


class ClientGoneError(Exception):
    """The client hung up before it had sent everything."""


class App:
    """Answers requests with the predictions of one release."""

    def __init__(self, folder: Path, settings: ServingSettings, threads: int = 1) -> None:
        """Take what is to be served; `load` loads it.

        Args:
            folder: The release's.
            settings: How to answer.
            threads: How many blocks of a large batch may be predicted at the same time.
        """
        self._threads = threads
        self._folder = folder
        self._settings = settings
        self._limit = int(settings.max_body_mb * 2**20)
        self._model: Model | None = None
        self._loading: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "predict")

    async def load(self) -> None:
        """Load the release; until that is done /ping is 503, and /invocations waits.

        Raises:
            ReleaseError: It can't be used.
        """
        self._loading = asyncio.ensure_future(self._load())
        await asyncio.shield(self._loading)

    async def _load(self) -> None:
        def load() -> "Model":
            from serving.model import Model  # noqa: PLC0415 - slow to load

            return Model(self._folder, self._threads)

        loop = asyncio.get_running_loop()
        self._model = await loop.run_in_executor(self._thread, load)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        began = time.perf_counter()
        try:
            answer = await self._answer(scope, receive)
        except RequestError as error:
            answer = _error_response(error)
        except ClientGoneError:
            return
        except Exception:  # a defect of ours, of which the client hears one line
            log_exception(traceback.format_exc())
            answer = _error_response(RequestError("a defect in the server", 500, "INTERNAL_ERROR"))
        if scope["path"] == "/invocations" and self._settings.log_requests:
            inference_id = _header(scope, b"x-amzn-sagemaker-inference-id")
            seconds = time.perf_counter() - began
            log_request(answer.status, answer.rows, seconds, inference_id, answer.error_code)
        await _send(answer, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        path, method = scope["path"], scope["method"]
        if path not in ROUTES:
            known = ", ".join(ROUTES)
            raise RequestError(f"no such path; there are {known}", 404, "ENDPOINT_NOT_FOUND")
        if method != ROUTES[path]:
            answer = _error_response(
                RequestError(f"{path} takes {ROUTES[path]}", 405, "METHOD_NOT_ALLOWED")
            )
            answer.headers = [(b"allow", ROUTES[path].encode())]
            return answer
        if path == "/invocations":
            return await self._predict(scope, receive)
        if self._model is None:
            raise RequestError("the model is being loaded", 503, "TEMPORARILY_UNAVAILABLE")
        if path == "/version":
            return Response(self._model.manifest.mlflow_version.encode(), media_type=PLAIN)
        if path == "/openapi.json":
            from serving.openapi import describe  # noqa: PLC0415 - hardly ever asked for

            return Response(json.dumps(describe(self._model.manifest, self._limit)).encode())
        return Response(b"\n", media_type=PLAIN)

    async def _predict(self, scope: Scope, receive: Receive) -> Response:
        from serving.codecs import negotiate_accept, parse_content_type  # noqa: PLC0415 - after the start

        body = await self._read(scope, receive)
        kind, parameters = parse_content_type(_header(scope, b"content-type"))
        wanted = negotiate_accept(_header(scope, b"accept"))
        if self._model is None and self._loading is not None:
            await asyncio.shield(self._loading)
        if self._model is None:
            raise RequestError("the model is not loaded", 503, "TEMPORARILY_UNAVAILABLE")
        predict = partial(_predict, self._model, body, kind, parameters, wanted)
        if len(body) <= SMALL_BODY:
            return predict()
        return await asyncio.get_running_loop().run_in_executor(self._thread, predict)

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        announced = _header(scope, b"content-length")
        if announced.isdigit() and int(announced) > self._limit:
            raise self._too_large()
        chunks, size = [], 0
        try:
            async with asyncio.timeout(self._settings.body_timeout_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGoneError
                    chunk = message.get("body", b"")
                    size += len(chunk)
                    if size > self._limit:
                        raise self._too_large()
                    chunks.append(chunk)
                    if not message.get("more_body"):
                        return b"".join(chunks)
        except TimeoutError:
            waited = f"{self._settings.body_timeout_seconds:g} s"
            raise RequestError(
                f"the body was not there within {waited}", 408, "DEADLINE_EXCEEDED"
            ) from None

    def _too_large(self) -> RequestError:
        limit = f"{self._settings.max_body_mb:g} MB"
        return RequestError(f"the body is larger than {limit}", 413, "REQUEST_LIMIT_EXCEEDED")


def _predict(
    model: "Model", body: bytes, kind: str, parameters: Mapping[str, str], wanted: str
) -> Response:
    from serving.codecs import decode, encode  # noqa: PLC0415 - loaded by now

    table = model.schema.read(decode(body, kind, parameters, model.schema))
    answer = encode(model.predict(table).tolist(), wanted)
    manifest = model.manifest
    attributes = format_attributes(
        model=manifest.model,
        version=manifest.version,
        digest=model.digest,
        imputed=table.imputed,
        unknown=table.unknown,
    )
    headers = [(HEADER.lower().encode(), attributes.encode())]
    return Response(answer, media_type=wanted, headers=headers, rows=table.rows)


def _error_response(error: RequestError) -> Response:
    body = json.dumps({"error_code": error.error_code, "message": str(error)}).encode()
    # What is still to come of its body would be taken for the next request's beginning.
    drain = error.status in {408, 413}
    return Response(body, error.status, error_code=error.error_code, drain=drain)


def _header(scope: Scope, wanted: bytes) -> str:
    for name, value in scope["headers"]:
        if name == wanted:
            text: str = value.decode("latin-1")
            return text
    return ""


async def _send(answer: Response, receive: Receive, send: Send) -> None:
    headers = [
        (b"content-type", answer.media_type.encode()),
        (b"content-length", str(len(answer.body)).encode()),
        *(answer.headers or []),
    ]
    if answer.drain:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": answer.drain})
    if answer.drain:
        await _drain(receive)
        await send({"type": "http.response.body", "body": b""})


async def _drain(receive: Receive) -> None:
    """Read what is left of a body, for some time.

    To hang up on a client that is still sending would take the answer from it.
    """
    size = 0
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            while size < DRAINED:
                message = await receive()
                size += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return
    except TimeoutError:
        return
