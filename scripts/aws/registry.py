"""A repository of a container registry, by the registry's HTTP API.

The client sends the registry's token itself. With `docker push`, the token would be in docker's
configuration file, and the engines differ in where they look for it.

The API: https://distribution.github.io/distribution/spec/api/
ECR's token in it: https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry_auth.html
("Using HTTP API authentication").
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import urljoin

from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies

from aws.images import MANIFEST_TYPE
from contract.errors import InfraError

logger = logging.getLogger(__name__)

CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"
ATTEMPTS = 3
"""How often a blob is sent before its upload fails."""
TIMEOUTS = (10, 300)
"""Seconds for a connection, and for a response: ECR checks a large layer before it responds."""
REDIRECTS = {301, 302, 303, 307, 308}


@dataclass(frozen=True)
class Descriptor:
    """A blob of an image, as its manifest describes it."""

    media_type: str
    digest: str
    size: int
    """Bytes."""

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Descriptor":
        """Return the descriptor of an entry of a manifest."""
        return cls(content["mediaType"], content["digest"], content["size"])

    def to_json(self) -> dict[str, str | int]:
        """Return the entry of a manifest."""
        return {"mediaType": self.media_type, "size": self.size, "digest": self.digest}


class _RegistryError(InfraError):
    """A request that failed; `is_transient` if a repetition may succeed."""

    def __init__(self, message: str, is_transient: bool) -> None:
        super().__init__(message)
        self.is_transient = is_transient


class Repository:
    """A repository of a registry."""

    def __init__(self, registry: str, name: str, token: str, ca_bundle: str | None = None) -> None:
        """Set the address; nothing is requested yet.

        Args:
            registry: The registry's URL.
            name: The repository's name.
            token: The user and the password in Base64, as ECR's GetAuthorizationToken returns them.
            ca_bundle: The file with the certificates to trust, if not the default ones.
        """
        self.name = f"{registry.partition('://')[2]}/{name}"
        """The name of the repository's images, without a tag."""
        self._url, self._token = f"{registry}/v2/{name}/", token
        # botocore's own HTTP client: it uses the proxies and certificates of all other AWS calls.
        self._http = URLLib3Session(
            verify=ca_bundle or True, proxies=get_environ_proxies(registry), timeout=TIMEOUTS
        )

    def get_manifest(self, reference: str) -> bytes:
        """Return the manifest of a tag or a digest.

        Raises:
            InfraError: There is none, or the registry can't be reached or denies the request.
        """
        headers = {"Accept": MANIFEST_TYPE}
        response = self._send("GET", f"manifests/{reference}", headers=headers)
        if (media_type := response.headers.get("Content-Type")) != MANIFEST_TYPE:
            raise InfraError(
                f"{self.name}: {reference} is {media_type}, which SageMaker doesn't accept; build "
                "the image with make build-and-push"
            )
        content: bytes = response.content
        return content

    def put_manifest(self, tag: str, manifest: bytes) -> str:
        """Store a manifest, whose blobs must exist, under a tag; return its digest.

        Raises:
            InfraError: The registry can't be reached or denies the request.
        """
        headers = {"Content-Type": MANIFEST_TYPE}
        self._send("PUT", f"manifests/{tag}", headers=headers, body=manifest)
        return sha256_digest(manifest)

    @contextmanager
    def open_blob(self, digest: str) -> Iterator[IO[bytes]]:
        """Open a blob for reading.

        Raises:
            InfraError: The registry has no such blob, can't be reached or denies the request.
        """
        response = self._send("GET", f"blobs/{digest}", stream=True)
        try:
            yield response.raw
        finally:
            response.raw.release_conn()

    def upload_blob(
        self, blob: Descriptor, open_content: Callable[[], AbstractContextManager[IO[bytes]]]
    ) -> None:
        """Upload a blob unless the repository has it; retry after a failed connection.

        Args:
            blob: The blob.
            open_content: Opens its content for reading; called once for each attempt.

        Raises:
            InfraError: The content has another digest, or the registry can't be reached or denies
                the request.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                if not self._has_blob(blob.digest):
                    logger.info("Uploading %s (%.1f MB)", blob.digest[:19], blob.size / 1e6)
                    with open_content() as content:
                        self._upload(blob, _HashingReader(content))
            except _RegistryError as error:
                if attempt == ATTEMPTS or not error.is_transient:
                    raise
                logger.info("Retrying: %s", error)
            else:
                return

    def _has_blob(self, digest: str) -> bool:
        # A registry whose blobs are in another store redirects to one that is there.
        response = self._send("HEAD", f"blobs/{digest}", accept={302, 303, 307, 404})
        return bool(response.status_code != 404)

    def _upload(self, blob: Descriptor, content: "_HashingReader") -> None:
        location = self._send("POST", "blobs/uploads/").headers["Location"]
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size)}
        location = self._send("PATCH", location, headers=headers, body=content).headers["Location"]
        # The registry compares the digest as well, but not every registry says what it expected.
        if content.digest != blob.digest:
            raise InfraError(f"{self.name}: {blob.digest} has the content of {content.digest}")
        separator = "&" if "?" in location else "?"
        self._send("PUT", f"{location}{separator}digest={blob.digest}")

    def _send(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        body: "bytes | _HashingReader" = b"",
        stream: bool = False,
        accept: frozenset[int] | set[int] = frozenset(),
    ) -> Any:  # noqa: ANN401 - botocore's
        """Send a request, and raise an error unless its status is a success or accepted."""
        url = urljoin(self._url, path)
        authorization = {"Authorization": f"Basic {self._token}"}
        response = self._request(method, url, {**authorization, **(headers or {})}, body, stream)
        if response.status_code in REDIRECTS and method == "GET":
            # ECR stores blobs in S3, whose presigned URLs refuse a second authorization.
            url = urljoin(url, response.headers["Location"])
            response = self._request(method, url, headers or {}, body, stream)
        if response.status_code >= 300 and response.status_code not in accept:
            is_transient = response.status_code >= 500 or response.status_code == 429
            raise _RegistryError(self._explain(method, response), is_transient)
        return response

    def _request(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        body: "bytes | _HashingReader",
        stream: bool,
    ) -> Any:  # noqa: ANN401 - botocore's
        request = AWSRequest(method, url, headers, body, stream_output=stream)
        try:
            return self._http.send(request.prepare())
        except BotoCoreError as error:  # of the connection
            reason = " ".join(str(error).split())
            raise _RegistryError(f"{self.name}: {reason}", is_transient=True) from None

    def _explain(self, method: str, response: Any) -> str:  # noqa: ANN401 - botocore's
        try:
            first = json.loads(response.content)["errors"][0]
            reason = f"{response.status_code} {first['code']}: {first['message']}"
        except (ValueError, LookupError, TypeError):  # of HEAD, which has no body, or of a proxy
            reason = f"status {response.status_code}"
        if response.status_code in {401, 403}:
            return f"{self.name}: access denied ({reason}); check the credentials' permissions"
        return f"{self.name}: {method} failed ({reason})"


class _HashingReader:
    """A file that is hashed while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._hash = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        chunk = self._file.read(size)
        self._hash.update(chunk)
        return chunk

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def sha256_digest(content: bytes) -> str:
    """Return the digest that a registry addresses a content by: `sha256:` and the hex digits."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
