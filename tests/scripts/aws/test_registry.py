"""The registry client, where ECR behaves otherwise than the registry of the other tests."""

import io
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from contract.errors import InfraError
from endpoints.ports import find_free_port
from scripts.aws import registry
from scripts.aws.registry import LAYER_TYPE, Descriptor, Repository, sha256_digest

CONTENT = b"layer"
LAYER = Descriptor(LAYER_TYPE, sha256_digest(CONTENT), len(CONTENT))
TOKEN = "QVdTOnNlY3JldA=="


class Handler(BaseHTTPRequestHandler):
    """A registry that stores blobs elsewhere, and that fails as often as a test says."""

    failures = 0
    requests: list[str]

    def do_GET(self) -> None:
        authorization = self.headers.get("Authorization")
        if self.path.startswith("/storage/"):
            # S3 refuses a presigned URL with an authorization of another kind.
            self._respond(400 if authorization else 200, body=CONTENT)
        elif authorization != f"Basic {TOKEN}":
            self._respond(401)
        elif "/blobs/" in self.path:
            self._respond(307, Location="/storage/layer?X-Amz-Signature=1")
        elif self.path.endswith("/oci"):
            oci = "application/vnd.oci.image.index.v1+json"
            self._respond(200, body=b"{}", **{"Content-Type": oci})
        else:
            self._respond(404, body=b'{"errors": [{"code": "UNKNOWN", "message": "not here"}]}')

    def do_HEAD(self) -> None:
        self._respond(404)

    def do_POST(self) -> None:
        self._respond(202, Location=f"/v2/{self.path.split('/')[2]}/blobs/uploads/1?state=a")

    def do_PATCH(self) -> None:
        length = int(self.headers["Content-Length"])
        Handler.requests.append(self.rfile.read(length).decode())
        if Handler.failures:
            Handler.failures -= 1
            self._respond(500, body=b"<html>")
        else:
            self._respond(202, Location="/v2/name/blobs/uploads/1?state=b")

    def do_PUT(self) -> None:
        Handler.requests.append(self.path)
        self._respond(201)

    def _respond(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def repository(address: str) -> Repository:
    Handler.failures, Handler.requests = 0, []
    return Repository(address, "name", TOKEN)


def test_token_is_not_sent_to_where_a_blob_is_stored(repository: Repository) -> None:
    with repository.open_blob(LAYER.digest) as blob:
        assert blob.read() == CONTENT


def test_failed_upload_is_repeated_from_the_start(repository: Repository) -> None:
    Handler.failures = 2

    repository.upload_blob(LAYER, lambda: io.BytesIO(CONTENT))

    sent, final = Handler.requests[:-1], Handler.requests[-1]
    assert sent == [CONTENT.decode()] * 3
    assert final == f"/v2/name/blobs/uploads/1?state=b&digest={LAYER.digest}"


def test_upload_that_keeps_failing_is_reported_in_one_line(repository: Repository) -> None:
    Handler.failures = registry.ATTEMPTS

    with pytest.raises(InfraError, match=r"^127\.0\.0\.1:\d+/name: PATCH failed \(status 500\)$"):
        repository.upload_blob(LAYER, lambda: io.BytesIO(CONTENT))


def test_other_content_is_not_stored(repository: Repository) -> None:
    with pytest.raises(InfraError, match=rf"{LAYER.digest} has the content of sha256:"):
        repository.upload_blob(LAYER, lambda: io.BytesIO(b"other"))

    assert Handler.requests == ["other"]


def test_missing_manifest_is_reported_in_one_line(repository: Repository) -> None:
    with pytest.raises(InfraError, match=r"GET failed \(404 UNKNOWN: not here\)$"):
        repository.get_manifest("latest")


def test_manifest_of_another_type_is_refused(repository: Repository) -> None:
    with pytest.raises(InfraError, match=r"oci is application/vnd\.oci\.image\.index\.v1\+json"):
        repository.get_manifest("oci")


def test_wrong_token_is_reported_in_one_line(address: str) -> None:
    with pytest.raises(InfraError, match=r"access denied .*; check the credentials' permissions"):
        Repository(address, "name", "wrong").get_manifest("latest")


def test_unreachable_registry_is_reported_in_one_line() -> None:
    repository = Repository(f"http://127.0.0.1:{find_free_port()}", "name", TOKEN)

    with pytest.raises(InfraError, match=r"/name: Could not connect to the endpoint URL") as error:
        repository.upload_blob(LAYER, lambda: io.BytesIO(CONTENT))
    assert "\n" not in str(error.value)
