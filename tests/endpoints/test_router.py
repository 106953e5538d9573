"""The router implements SageMaker's runtime API, as boto3 calls it."""

import json
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from contract.errors import EndpointError
from contract.names import PRODUCTION_VARIANT
from contract.paths import PROJECT_ROOT
from tests.endpoints.helpers import ENDPOINT, Project, request_body

PACKAGES = (
    "benchmarks",
    "contract",
    "endpoints",
    "infra",
    "mlflow_server",
    "scripts",
    "serving",
    "training",
)


@pytest.fixture
def deployed(project: Project) -> Project:
    project.target.deploy()
    return project


def test_responses_and_errors_have_the_form_of_sagemaker(deployed: Project) -> None:
    client = deployed.client()

    with pytest.raises(ClientError) as unknown:
        client.invoke_endpoint(EndpointName="another", Body=b"{}")
    with pytest.raises(client.exceptions.ModelError) as invalid:
        client.invoke_endpoint(EndpointName=ENDPOINT, Body=b"{", ContentType="application/json")
    with pytest.raises(ClientError) as too_large:
        client.invoke_endpoint(EndpointName=ENDPOINT, Body=b" " * (25 * 2**20 + 1))
    response = client.invoke_endpoint(
        EndpointName=ENDPOINT,
        Body=request_body(deployed.live_check()),
        ContentType="application/json",
        Accept="text/csv",
    )

    assert unknown.value.response["Error"]["Code"] == "ValidationError"
    assert unknown.value.response["Error"]["Message"] == "Endpoint another not found."
    assert invalid.value.response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert invalid.value.response["OriginalStatusCode"] == 400
    assert "error_code" in json.loads(invalid.value.response["OriginalMessage"])
    assert too_large.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413
    assert response["ContentType"].startswith("text/csv")
    expected = deployed.live_check()["predictions"][0]
    assert float(response["Body"].read()) == pytest.approx(expected, rel=1e-5)


def test_error_of_the_model_is_passed_on_in_one_line(deployed: Project) -> None:
    with pytest.raises(EndpointError, match=r"Received client error \(400\) from primary"):
        deployed.target.invoke(b"{")


def test_response_names_the_production_variant(deployed: Project) -> None:
    response = deployed.client().invoke_endpoint(
        EndpointName=ENDPOINT,
        Body=request_body(deployed.live_check()),
        ContentType="application/json",
    )

    assert response["ContentType"] == "application/json"
    assert response["InvokedProductionVariant"] == PRODUCTION_VARIANT == "AllTraffic"


def test_production_variant_is_named_in_one_place() -> None:
    modules = {
        file.relative_to(PROJECT_ROOT): file.read_text()
        for package in PACKAGES
        for file in (PROJECT_ROOT / package).rglob("*.py")
    }

    assert [path for path, text in modules.items() if f'"{PRODUCTION_VARIANT}"' in text] == [
        Path("contract/names.py")
    ]
    router = modules[Path("endpoints/router.py")]
    assert '["x-Amzn-Invoked-Production-Variant"] = PRODUCTION_VARIANT\n' in router
    # The dimension of the alarms' metrics: another name would match no metric, without an error.
    for path, text in modules.items():
        if '"VariantName":' in text:
            assert '"VariantName": PRODUCTION_VARIANT' in text, path
    assert '"VariantName"' in modules[Path("infra/monitoring/endpoint_alarms.py")]
