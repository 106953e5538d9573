"""The ASGI app: SageMaker's container contract and MLflow's scoring protocol.

It is written in plain ASGI because it has five routes, and a framework's overhead per request would
be larger than the prediction.

Sources: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html and
https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally.
"""

import asyncio
import json
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from contract.response_attributes import HEADER, format_attributes
from contract.settings.sections import ServingSettings
from serving.asgi import (
    ClientDisconnectedError,
    Receive,
    Response,
    Scope,
    Send,
    get_header,
    read_body,
    send_response,
)
from serving.codecs import decode, encode, negotiate_accept, parse_content_type
from serving.errors import RequestError
from serving.log import log_exception, log_request
from serving.model import Model
from serving.openapi import describe_api

Handler = Callable[[Scope, Receive], Awaitable[Response]]

INVOCATIONS = "/invocations"
MAX_INLINE_BODY_BYTES = 16 * 1024
"""A larger body is processed in a thread, so that it doesn't block /ping."""
PLAIN_TEXT = "text/plain; charset=utf-8"


class App:
    """The ASGI app of one release."""

    def __init__(self, folder: Path, settings: ServingSettings, threads: int = 1) -> None:
        """Configure the app; `load` loads the release.

        Args:
            folder: The release folder.
            settings: The limits of a request, and whether requests are logged.
            threads: How many blocks of a large batch may be predicted at the same time.
        """
        self._folder = folder
        self._settings = settings
        self._threads = threads
        self._model: Model | None = None
        self._loading: asyncio.Task[None] | None = None
        self._executor = ThreadPoolExecutor(1, "predict")
        self._routes: Mapping[str, tuple[str, Handler]] = {
            "/ping": ("GET", self._ping),
            "/health": ("GET", self._ping),
            "/version": ("GET", self._version),
            "/openapi.json": ("GET", self._openapi),
            INVOCATIONS: ("POST", self._invoke),
        }

    async def load(self) -> None:
        """Load the release; until then /ping returns 503, and /invocations waits.

        Raises:
            ReleaseError: The release can't be used.
        """
        self._loading = asyncio.ensure_future(self._load())
        await asyncio.shield(self._loading)

    async def _load(self) -> None:
        loop = asyncio.get_running_loop()
        self._model = await loop.run_in_executor(self._executor, Model, self._folder, self._threads)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Process one request."""
        if scope["type"] != "http":
            return
        started_at = time.perf_counter()
        try:
            response = await self._dispatch(scope, receive)
        except RequestError as error:
            response = Response.from_error(error)
        except ClientDisconnectedError:
            return
        except Exception:  # a bug in the server: a traceback in the log, one line for the client
            log_exception(traceback.format_exc())
            defect = RequestError("internal server error", 500, "INTERNAL_ERROR")
            response = Response.from_error(defect)
        if scope["path"] == INVOCATIONS and self._settings.log_requests:
            seconds = time.perf_counter() - started_at
            inference_id = get_header(scope, b"x-amzn-sagemaker-inference-id")
            log_request(
                response.status, response.row_count, seconds, inference_id, response.error_code
            )
        await send_response(response, receive, send)

    async def _dispatch(self, scope: Scope, receive: Receive) -> Response:
        path = scope["path"]
        if path not in self._routes:
            paths = ", ".join(self._routes)
            raise RequestError(f"unknown path; use one of {paths}", 404, "ENDPOINT_NOT_FOUND")
        method, handler = self._routes[path]
        if scope["method"] != method:
            error = RequestError(f"{path} only accepts {method}", 405, "METHOD_NOT_ALLOWED")
            return Response.from_error(error, [(b"allow", method.encode())])
        return await handler(scope, receive)

    async def _ping(self, _scope: Scope, _receive: Receive) -> Response:
        self._require_model()
        return Response(b"\n", media_type=PLAIN_TEXT)

    async def _version(self, _scope: Scope, _receive: Receive) -> Response:
        mlflow_version = self._require_model().manifest.mlflow_version
        return Response(mlflow_version.encode(), media_type=PLAIN_TEXT)

    async def _openapi(self, _scope: Scope, _receive: Receive) -> Response:
        description = describe_api(self._require_model().manifest, self._settings.max_body_mb)
        return Response(json.dumps(description).encode())

    async def _invoke(self, scope: Scope, receive: Receive) -> Response:
        body = await read_body(
            scope,
            receive,
            max_megabytes=self._settings.max_body_mb,
            timeout_seconds=self._settings.body_timeout_seconds,
        )
        request_type, parameters = parse_content_type(get_header(scope, b"content-type"))
        response_type = negotiate_accept(get_header(scope, b"accept"))
        if self._model is None and self._loading is not None:
            await asyncio.shield(self._loading)
        model = self._require_model()
        predict = partial(_predict, model, body, request_type, parameters, response_type)
        if len(body) <= MAX_INLINE_BODY_BYTES:
            return predict()
        return await asyncio.get_running_loop().run_in_executor(self._executor, predict)

    def _require_model(self) -> Model:
        if self._model is None:
            raise RequestError("the model is not loaded yet", 503, "TEMPORARILY_UNAVAILABLE")
        return self._model


def _predict(
    model: Model, body: bytes, request_type: str, parameters: Mapping[str, str], response_type: str
) -> Response:
    inputs = model.schema.convert(decode(body, request_type, parameters, model.schema))
    content = encode(model.predict(inputs).tolist(), response_type)
    attributes = format_attributes(
        model=model.manifest.model,
        version=model.manifest.version,
        digest=model.digest,
        imputed=inputs.imputed,
        unknown=inputs.unknown,
    )
    headers = [(HEADER.lower().encode(), attributes.encode())]
    return Response(content, media_type=response_type, headers=headers, row_count=inputs.row_count)
