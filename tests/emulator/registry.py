"""Connect the emulated ECR to a real registry on this machine, if there is one.

ECR implements the registry API (AmazonECR/latest/userguide/Registries.html) and returns the digest
of a pushed image (APIReference/API_DescribeImages.html).
"""

import os
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from moto.ecr.exceptions import ImageNotFoundException
from moto.ecr.models import ECRBackend, Image

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", DOCKER_MANIFEST)
DESCRIBE_IMAGES = ECRBackend.describe_images


def registry_address() -> str:
    """Return the registry's host and port, or an empty string."""
    return os.environ.get("EMULATED_REGISTRY", "")


def add_registry() -> None:
    """Make ECR describe the images of the registry, if there is one."""
    if registry_address():
        ECRBackend.describe_images = _describe_images  # type: ignore[method-assign,assignment]


def _describe_images(
    backend: Any,
    repository_name: str,
    registry_id: str | None = None,
    image_ids: list[dict[str, str]] | None = None,
) -> Any:
    if not image_ids:
        return DESCRIBE_IMAGES(backend, repository_name, registry_id, image_ids)
    backend._get_repository(repository_name, registry_id)
    (tag,) = [image_id["imageTag"] for image_id in image_ids]
    request = Request(
        f"http://{registry_address()}/v2/{repository_name}/manifests/{tag}",
        headers={"Accept": ", ".join(MANIFESTS)},
        method="HEAD",
    )
    try:
        with urlopen(request, timeout=10) as response:
            digest = response.headers["Docker-Content-Digest"]
    except HTTPError as error:
        if error.code != 404:
            raise
        raise ImageNotFoundException(tag, repository_name, backend.account_id) from None
    return [Image(backend.account_id, tag, "{}", repository_name, digest=digest)]
