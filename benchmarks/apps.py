"""Apps to compare the server with: a baseline without a model, and FastAPI with MLflow."""

import json
import os
from typing import Any

CONSTANT = b'{"predictions": [180000.0]}'


async def baseline(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's own types
    """Parse the body and return a constant: the cost of HTTP and JSON alone."""
    body, more = b"", scope["type"] == "http"
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if body:
        json.loads(body)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(CONSTANT)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": CONSTANT})


def fastapi_app() -> Any:  # noqa: ANN401 - FastAPI is not a dependency
    """Create a FastAPI app that predicts with mlflow.pyfunc the model of the variable MODEL."""
    import mlflow  # noqa: PLC0415 - only this app needs these libraries
    import pandas as pd  # noqa: PLC0415
    from fastapi import Body, FastAPI  # noqa: PLC0415

    model = mlflow.pyfunc.load_model(os.environ["MODEL"])
    app = FastAPI()

    @app.get("/ping")
    def ping() -> str:
        return "ok"

    @app.post("/invocations")
    def invocations(payload: dict[str, Any] = Body()) -> dict[str, list[float]]:  # noqa: B008
        table = pd.DataFrame(**payload["dataframe_split"])
        return {"predictions": [float(value) for value in model.predict(table)]}

    return app
