"""Invoke an endpoint with boto3's `sagemaker-runtime` client, on this machine as on AWS."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from contract.errors import EndpointError
from contract.response_attributes import parse_attributes
from endpoints.target import InvocationResponse


def create_local_client(address: str) -> Any:  # noqa: ANN401 - boto3 creates clients at run time
    """Return a client of a local endpoint; it needs no AWS account."""
    import boto3  # noqa: PLC0415 - takes half a second, after the first line of output
    from botocore.config import Config  # noqa: PLC0415

    return boto3.client(
        "sagemaker-runtime",
        endpoint_url=address,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",  # noqa: S106 - the local endpoint checks no credentials
        config=Config(
            retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=70, proxies={}
        ),
    )


def invoke(
    client: Any,  # noqa: ANN401 - boto3 creates clients at run time
    endpoint: str,
    body: bytes,
    content_type: str,
    accept: str,
) -> InvocationResponse:
    """Invoke an endpoint.

    Raises:
        EndpointError: The endpoint can't be reached, or returns an error.
    """
    from botocore.exceptions import (  # noqa: PLC0415
        BotoCoreError,
        ClientError,
        ConnectionClosedError,
        EndpointConnectionError,
    )

    try:
        response = client.invoke_endpoint(
            EndpointName=endpoint, Body=body, ContentType=content_type, Accept=accept
        )
        content = response["Body"].read()
    except ClientError as error:
        reason = error.response["Error"].get("Message") or str(error)
        raise EndpointError(f"{endpoint}: {' '.join(reason.split())}") from None
    except (EndpointConnectionError, ConnectionClosedError):
        url = client.meta.endpoint_url
        raise EndpointError(f"{endpoint}: no response from {url}; run make status") from None
    except BotoCoreError as error:
        raise EndpointError(f"{endpoint}: {' '.join(str(error).split())}") from None
    attributes = parse_attributes(response.get("CustomAttributes", ""))
    return InvocationResponse(content, response["ContentType"], attributes)


def rows_to_json(rows: Sequence[Mapping[str, object]]) -> bytes:
    """Return a request body with the rows, as JSON."""
    return json.dumps({"dataframe_records": list(rows)}).encode()
