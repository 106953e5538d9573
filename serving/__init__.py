"""The model server: one release behind HTTP, from bytes to columns, predictions and bytes.

A request passes through these modules:

- `asgi`: reads the body within the limits, and sends the response
- `app`: routes requests, and runs the steps below for `/invocations`
- `codecs`: bytes to columns, and predictions to bytes (JSON, CSV or JSON Lines)
- `inputs`: columns to the inputs of the graph, one array per data type
- `values`: the same for single values; an error names the row and the column
- `model`: inputs to predictions, with onnxruntime; loads and checks the release

Around them:

- `__main__`: the command line: `python -m serving`
- `supervisor`: binds the port, and starts, restarts and stops the worker processes
- `openapi`: describes the API of the release as OpenAPI
- `errors`: the error of an invalid request, with its HTTP status and error code
- `log`: writes the request log and the messages of the server
"""
