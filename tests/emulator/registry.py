"""Where the images of the emulated ECR are: in a real registry on this machine, if there is one.

ECR speaks the protocol of registries (AmazonECR/latest/userguide/Registries.html), and tells what
was pushed by its digest (APIReference/API_DescribeImages.html).
"""

import os
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from moto.ecr.exceptions import ImageNotFoundException
from moto.ecr.models import ECRBackend, Image

REGISTRY = os.environ.get("EMULATED_REGISTRY", "")
"""Its host and port."""
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", DOCKER_MANIFEST)
DESCRIBE_IMAGES = ECRBackend.describe_images


def add_registry() -> None:
    """Let ECR tell what is in the registry, if there is one."""
    if REGISTRY:
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
    (tag,) = [one["imageTag"] for one in image_ids]
    request = Request(
        f"http://{REGISTRY}/v2/{repository_name}/manifests/{tag}",
        headers={"Accept": ", ".join(MANIFESTS)},
        method="HEAD",
    )
    try:
        with urlopen(request, timeout=10) as answer:
            digest = answer.headers["Docker-Content-Digest"]
    except HTTPError as error:
        if error.code != 404:
            raise
        raise ImageNotFoundException(tag, repository_name, backend.account_id) from None
    return [Image(backend.account_id, tag, "{}", repository_name, digest=digest)]
