"""Connect the emulated ECR to a real registry on this machine, if there is one.

ECR implements the registry's HTTP API (AmazonECR/latest/userguide/Registries.html) beside its own
operations. With a registry, these operate on the registry's images; without one, moto keeps the
images that PutImage creates.
"""

import base64
import hashlib
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import requests
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.ecr.exceptions import ImageAlreadyExistsException, ImageNotFoundException
from moto.ecr.models import ECRBackend, Image
from moto.ecr.responses import ECRResponse

from tests.registry import MANIFEST_TYPES, PASSWORD, USER


class ImageTagAlreadyExistsException(ServiceException):
    code = "ImageTagAlreadyExistsException"


def registry_address() -> str:
    """Return the registry's host and port, or an empty string."""
    return os.environ.get("EMULATED_REGISTRY", "")


def add_registry() -> None:
    """Make ECR's operations use the registry, if there is one."""
    if not registry_address():
        return
    patches: list[tuple[type, str, Any]] = [
        (ECRResponse, "get_authorization_token", _get_authorization_token),
        (ECRBackend, "describe_images", _describe_images),
        (ECRBackend, "batch_get_image", _batch_get_image),
        (ECRBackend, "put_image", _put_image),
    ]
    for owner, name, value in patches:
        setattr(owner, name, value)


def _get_authorization_token(_response: Any) -> ActionResult:
    # APIReference/API_AuthorizationData.html: "A base64-encoded string that contains authorization
    # data for the specified Amazon ECR registry. When the string is decoded, it is presented in the
    # format user:password"; "Authorization tokens are valid for 12 hours"; the proxyEndpoint is
    # "the registry URL to use for this authorization token in a docker login command".
    password = os.environ.get("EMULATED_REGISTRY_PASSWORD", PASSWORD)
    data = {
        "authorizationToken": base64.b64encode(f"{USER}:{password}".encode()).decode(),
        "expiresAt": datetime.now(UTC) + timedelta(hours=12),
        "proxyEndpoint": f"http://{registry_address()}",
    }
    return ActionResult({"authorizationData": [data]})


def _describe_images(
    backend: Any,
    repository_name: str,
    registry_id: str | None = None,
    image_ids: list[dict[str, str]] | None = None,
) -> list[Image]:
    backend._get_repository(repository_name, registry_id)
    tags = _tags(repository_name)
    found = []
    for image_id in image_ids or [{"imageDigest": digest} for digest in sorted({*tags.values()})]:
        reference = image_id.get("imageDigest") or tags.get(image_id["imageTag"], "")
        image = _find_image(backend, repository_name, reference)
        if not image:
            # APIReference/API_DescribeImages.html: "ImageNotFoundException: The image requested
            # does not exist in the specified repository."
            raise ImageNotFoundException(str(image_id), repository_name, backend.account_id)
        image.image_tags = sorted(tag for tag, other in tags.items() if other == reference)
        found.append(image)
    return found


def _batch_get_image(
    backend: Any,
    repository_name: str,
    registry_id: str | None = None,
    image_ids: list[dict[str, str]] | None = None,
) -> dict[str, Any]:
    # APIReference/API_BatchGetImage.html: images are specified by imageTag or imageDigest; those
    # that are not found are "failures" of the response, not an error.
    backend._get_repository(repository_name, registry_id)
    response: dict[str, Any] = {"images": [], "failures": []}
    for image_id in image_ids or []:
        reference = image_id.get("imageDigest") or image_id["imageTag"]
        if image := _find_image(backend, repository_name, reference):
            response["images"].append(image)
        else:
            failure = {"failureCode": "ImageNotFound", "failureReason": "Requested image not found"}
            response["failures"].append({"imageId": image_id, **failure})
    return response


def _put_image(
    backend: Any,
    repository_name: str,
    image_manifest: str,
    image_tag: str,
    image_manifest_mediatype: str | None = None,
    digest: str | None = None,
) -> Image:
    repository = backend._get_repository(repository_name, None)
    calculated = f"sha256:{hashlib.sha256(image_manifest.encode()).hexdigest()}"
    if digest not in {None, calculated}:
        # APIReference/API_PutImage.html: "The specified image digest does not match the digest that
        # Amazon ECR calculated for the image."
        raise ServiceException("ImageDigestDoesNotMatchException", f"{digest} is {calculated}")
    tagged = _tags(repository_name).get(image_tag)
    if tagged == calculated:
        # The same page: "The specified image has already been pushed, and there were no changes to
        # the manifest or image tag after the last push."
        raise ImageAlreadyExistsException(
            repository_name, backend.account_id, calculated, image_tag
        )
    if tagged and repository.image_tag_mutability == "IMMUTABLE":
        # The same page: "The specified image is tagged with a tag that already exists. The
        # repository is configured for tag immutability."
        raise ImageTagAlreadyExistsException(
            f"The image tag '{image_tag}' already exists in the '{repository_name}' repository and "
            "cannot be overwritten because the tag is immutable."
        )
    media_type = image_manifest_mediatype or MANIFEST_TYPES[0]
    _request(
        "PUT",
        f"{repository_name}/manifests/{image_tag}",
        headers={"Content-Type": media_type},
        data=image_manifest.encode(),
    ).raise_for_status()
    return Image(
        backend.account_id, image_tag, image_manifest, repository_name, media_type, calculated
    )


def _find_image(backend: Any, repository: str, reference: str) -> Image | None:
    if not reference:
        return None
    response = _request(
        "GET",
        f"{repository}/manifests/{reference}",
        headers={"Accept": ", ".join(MANIFEST_TYPES)},
    )
    if response.status_code in {400, 404}:
        return None
    response.raise_for_status()
    return Image(
        backend.account_id,
        "" if reference.startswith("sha256:") else reference,
        response.text,
        repository,
        response.headers["Content-Type"],
        response.headers["Docker-Content-Digest"],
    )


def _tags(repository: str) -> dict[str, str]:
    """Return the digest of each tag of a repository."""
    tags = _request("GET", f"{repository}/tags/list").json().get("tags") or []
    accept = {"Accept": ", ".join(MANIFEST_TYPES)}
    return {
        tag: _request("HEAD", f"{repository}/manifests/{tag}", headers=accept).headers[
            "Docker-Content-Digest"
        ]
        for tag in tags
    }


def _request(method: str, path: str, **options: Any) -> requests.Response:
    url = f"http://{registry_address()}/v2/{path}"
    return requests.request(method, url, auth=(USER, PASSWORD), timeout=10, **options)
