"""A real registry on this machine, in the place of ECR's, which requires a password."""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from aws.images import MANIFEST_TYPE
from endpoints.ports import find_free_port

USER, PASSWORD = "AWS", "registry-password-for-tests"
"""ECR's tokens are a password of the user AWS as well."""
PASSWORD_HASH = "$2b$04$SEMMvpeuqpQ1pYd7XZYo6u9dYvMPK1WCXxzO3p7FwPmCFXOl.31Mq"
"""By bcrypt, the only hash that the registry accepts."""
MANIFEST_TYPES = (MANIFEST_TYPE, "application/vnd.oci.image.manifest.v1+json")


@dataclass(frozen=True)
class Registry:
    """A running registry."""

    address: str
    """Its host and port."""
    folder: Path
    """Its configuration, its log and its content."""

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a container engine can pull from it and push to it."""
        return {
            "CONTAINERS_REGISTRIES_CONF": str(self.folder / "registries.conf"),
            "REGISTRY_AUTH_FILE": str(self.folder / "config.json"),
            "DOCKER_CONFIG": str(self.folder),
        }

    def request(self, method: str, path: str, **headers: str) -> requests.Response:
        """Send a request to its API: `request("GET", "name/tags/list")`."""
        url = f"http://{self.address}/v2/{path}"
        return requests.request(method, url, headers=headers, auth=(USER, PASSWORD), timeout=10)

    def get_manifest(self, repository: str, reference: str) -> requests.Response:
        """Request the manifest of a tag or a digest, in whatever format it was pushed."""
        path = f"{repository}/manifests/{reference}"
        return self.request("GET", path, Accept=", ".join(MANIFEST_TYPES))


@contextmanager
def running_registry(folder: Path) -> Iterator[Registry]:
    """Run a registry, or skip the test if none is installed."""
    program = shutil.which("docker-registry")
    if not program:
        pytest.skip("no registry is installed (Debian package: docker-registry)")
    registry = Registry(f"127.0.0.1:{find_free_port()}", folder)
    _configure(registry)
    with (folder / "log").open("w") as log:
        command = [program, "serve", str(folder / "config.yml")]
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        _wait(registry)
        yield registry
    finally:
        process.terminate()
        process.wait(20)


def _configure(registry: Registry) -> None:
    folder, address = registry.folder, registry.address
    (folder / "config.yml").write_text(
        "version: 0.1\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '{address}'}}\n"
        f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}\n"
        "log: {level: error}\n"
    )
    (folder / "htpasswd").write_text(f"{USER}:{PASSWORD_HASH}\n")
    # podman uses no registry without TLS otherwise; docker accepts one on this machine.
    (folder / "registries.conf").write_text(f'[[registry]]\nlocation="{address}"\ninsecure=true\n')
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {address: {"auth": auth}}}))


def _wait(registry: Registry) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if registry.request("GET", "").ok:
                return
        except requests.ConnectionError:
            time.sleep(0.1)
    raise AssertionError("the registry didn't start")
