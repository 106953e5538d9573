"""The response header that names the release and counts imputed and unknown values."""

HEADER = "X-Amzn-SageMaker-Custom-Attributes"
"""SageMaker passes it on to the caller as `CustomAttributes`: at most 1,024 visible characters.

Source: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
"""


def format_attributes(*, model: str, version: str, digest: str, imputed: int, unknown: int) -> str:
    """Return the header's value: `model=...;version=...;digest=sha256:...;imputed=0;unknown=0`.

    Args:
        model: The release's model.
        version: The release's version.
        digest: SHA-256 of the release's manifest, in hex.
        imputed: The number of missing values that were imputed.
        unknown: The number of values that are categories unknown from training.
    """
    release = f"model={model};version={version};digest=sha256:{digest}"
    return f"{release};imputed={imputed};unknown={unknown}"


def parse_attributes(text: str) -> dict[str, str]:
    """Return the header's parts by name; `digest` is `sha256:` and the hex digest."""
    pairs = (part.partition("=") for part in text.split(";"))
    return {name.strip(): value.strip() for name, found, value in pairs if found}
