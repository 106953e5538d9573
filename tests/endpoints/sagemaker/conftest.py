"""Fixtures: a stage in an emulated account, and the credentials of its deploying role."""

from collections.abc import Iterator

import pytest

from contract.names import Image, StackOutput
from endpoints.ports import find_free_port
from infra.app import build_app
from tests.durability.conftest import uninterrupted
from tests.durability.server import Server
from tests.emulator.account import emulated_account
from tests.endpoints.sagemaker.stage import EmulatedStage, put_image
from tests.helpers import write_settings
from tests.infra.conftest import StageTemplates, stage_with
from tests.infra.stacks import create_stacks

__all__ = ["uninterrupted"]


@pytest.fixture(scope="package")
def templates_of_stage(tmp_path_factory: pytest.TempPathFactory) -> StageTemplates:
    folder, stage = tmp_path_factory.mktemp("templates"), stage_with("dev", {})
    build_app(stage, str(folder)).synth()
    return StageTemplates(stage, folder)


@pytest.fixture(scope="package")
def stage(
    tmp_path_factory: pytest.TempPathFactory, templates_of_stage: StageTemplates
) -> Iterator[EmulatedStage]:
    server_folder = tmp_path_factory.mktemp("server")
    write_settings(server_folder)
    server = Server(server_folder, find_free_port())
    with emulated_account(tmp_path_factory.mktemp("account")) as account:
        outputs = create_stacks(account, templates_of_stage)
        for image in (Image.TRAIN, Image.SERVE):
            put_image(account, templates_of_stage.stage, image)
        hosts = {outputs[StackOutput.MLFLOW_URI]: server.uri}
        account.control_jobs(hosts=hosts)
        try:
            server.start()
            yield EmulatedStage(account, templates_of_stage.stage, outputs, server)
        finally:
            server.kill()


@pytest.fixture(autouse=True)
def deploying(stage: EmulatedStage, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The credentials of the deploying role, and no fault of another test."""
    for name, value in stage.credentials().items():
        monkeypatch.setenv(name, value)
    yield
    stage.account.inject_faults()
    stage.account.control_jobs(capacity=True, interrupt_after=[])
