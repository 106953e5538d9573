"""A deployment of the serving image, with the container engine of this machine."""

import json
from pathlib import Path

import pytest

from contract.errors import EndpointError
from contract.names import Image
from endpoints.containers import ALL_ENDPOINTS_LABEL, ServingContainers
from endpoints.local import LocalTarget
from endpoints.state import BackendType
from tests.endpoints.helpers import MODEL, Project
from tests.helpers import run
from tests.images import build, engine, needs_engine

FAKE_ENGINE = """#!/bin/sh
printf '%s\\n' "$@" >> "{log}"
"""


@needs_engine
@pytest.mark.timeout(900)
def test_containers_and_processes_replace_each_other(project: Project) -> None:
    build(Image.SERVE)
    containers = ServingContainers()
    project.target.deploy("1")

    done = run("scripts.deploy", "--backend", "container", folder=project.root)

    assert done.returncode == 0, done.stderr
    assert "container prod-endpoint-1-" in done.stdout
    assert project.live_version() == "1"
    (name,) = containers.find_by_label(ALL_ENDPOINTS_LABEL, project.endpoints_folder)
    log_config = json.loads(engine("inspect", "--format={{json .HostConfig.LogConfig}}", name))
    assert "10" in (log_config.get("Size") or log_config["Config"]["max-size"])
    assert project.target.rollback().live.compute.startswith("process ")
    containers.remove(name)
    repaired = project.target.status().repaired[0]
    assert repaired.startswith(f"previous: {MODEL} version 1 (container ")
    assert project.target.rollback().live.compute == f"container {name}"
    assert project.live_version() == "1"
    removed = ("endpoint prod-endpoint", "3 processes", "1 container")
    assert project.target.teardown() == removed
    assert not containers.find_by_label(ALL_ENDPOINTS_LABEL, project.endpoints_folder)


def test_missing_image_is_an_error(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("endpoints.containers.IMAGE", "no-such-image")

    with pytest.raises(EndpointError, match=r"has no image no-such-image; run make build"):
        LocalTarget(project.settings, BackendType.CONTAINER).deploy()

    assert not project.endpoints_folder.exists()


@pytest.mark.parametrize("name", ["docker", "podman"])
def test_log_of_a_container_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    log, executable = tmp_path / "arguments", tmp_path / name
    executable.write_text(FAKE_ENGINE.format(log=log))
    executable.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("endpoints.container_engine.ENGINES", (name,))

    ServingContainers().start("one", tmp_path / "endpoint", tmp_path / "release", 8080, {})

    arguments = log.read_text().splitlines()
    assert "--log-driver=json-file" in arguments
    assert "--log-opt=max-size=10m" in arguments
