"""The AWS path from an empty account to a release, on an emulated account: `make rehearse`.

The commands are those of docs/operations.md, in its order. What stands in for AWS is named in
tests/emulator: the account is emulated, the MLflow server with its Postgres is the real one, and
the training job really trains. With a container engine and a registry, images are built and pushed,
and the server and the job run as containers of these images; else as processes of this checkout.
"""

import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from aws.account import AwsAccount
from contract.names import Image, RoleName, StackName, StackOutput
from contract.release_store import ReleaseStore
from contract.settings.stage import Stage
from tests.durability.trainings import leaderboard_of
from tests.emulator.account import emulated_account
from tests.endpoints.sagemaker.stage import put_image
from tests.images import ENGINE
from tests.infra.commands import make, try_make
from tests.infra.conftest import stage_with
from tests.mlflow_server.postgres import Postgres, find_binaries
from tests.mlflow_server.task import Task, task_of
from tests.registry import Registry, running_registry

logger = logging.getLogger("rehearsal")

GRIDS = {
    "STACK_GRIDS__XGBOOST__N_ESTIMATORS": "[20, 50]",
    "STACK_GRIDS__XGBOOST__LEARNING_RATE": "[0.1]",
    "STACK_GRIDS__XGBOOST__MAX_DEPTH": "[3]",
}
"""Fewer trees than the default grid: the steps are rehearsed, not the search."""
INTERRUPT_AFTER = 5
"""Combinations that are tracked when the spot instance of the job is interrupted."""


@dataclass
class Report:
    """The steps so far."""

    rows: list[tuple[str, float, str]] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """Measure a step; the body appends what it has checked."""
        logger.info("%s ...", name)
        checks: list[str] = []
        start = time.monotonic()
        yield checks
        self.rows.append((name, time.monotonic() - start, "; ".join(checks)))

    def print(self) -> None:
        """Print the steps, their times and their checks."""
        table = Table("step", "seconds", "checked", title="Rehearsal", title_justify="left")
        for name, seconds, checks in self.rows:
            table.add_row(name, f"{seconds:.0f}", checks)
        table.add_row("total", f"{sum(seconds for _, seconds, _ in self.rows):.0f}", "")
        Console(width=120).print(table)


class Rehearsal:
    """One rehearsal, in a folder of its own."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.report, self._folder, self._stack = Report(), folder, stack
        self.stage: Stage = stage_with("dev", {})
        self.engine = ENGINE if shutil.which("docker-registry") else ""
        self._registry: Registry | None = None

    def run(self) -> None:
        """Run all steps; an AssertionError names what failed."""
        logger.info("With %s", self.engine or "processes: no container engine, or no registry")
        if self.engine:
            self._start_registry()
        registry = self._registry.address if self._registry else ""
        self.account = self._stack.enter_context(
            emulated_account(self._folder, registry=registry, engine=self.engine)
        )
        os.environ.update(self.account.environment)
        self._provision()
        self._serve_mlflow()
        self._push_images()
        expected = self._train_here()
        self._train_on_aws(expected)

    def _start_registry(self) -> None:
        folder = self._folder / "registry"
        folder.mkdir()
        self._registry = self._stack.enter_context(running_registry(folder))
        os.environ.update(self._registry.environment)

    def _provision(self) -> None:
        with self.report.step("make bootstrap") as checks:
            make(self.account, "bootstrap")
            groups = self.account.client("logs").describe_log_groups()["logGroups"]
            assert any(group.get("retentionInDays") for group in groups)
            checks.append("training logs have a retention")
        with self.report.step("make deploy") as checks:
            images = "" if self.engine else " --no-images"
            output = make(self.account, "deploy", f"ARGS=--yes{images}")
            assert "USD per month" in output
            checks.append(f"{len(StackName)} stacks, costs before")
        aws = AwsAccount(self.stage)
        self.outputs = aws.outputs(StackName.BASE) | aws.outputs(StackName.MLFLOW)

    def _serve_mlflow(self) -> None:
        """Start the MLflow server as its task definition says, on a real Postgres."""
        with self.report.step("MLflow on Fargate") as checks:
            postgres = Postgres()
            self._stack.callback(postgres.remove)
            postgres.execute("CREATE DATABASE mlflow", database="postgres")
            task = task_of(self.account, self.stage, postgres, self.outputs)
            address = self._start_task(task)
            uri = self.outputs[StackOutput.MLFLOW_URI]
            self.account.control_jobs(
                hosts={uri.removeprefix("http://"): address.removeprefix("http://")}
            )
            checks.append("migrated and healthy" + (", its image by digest" if self.engine else ""))

    def _start_task(self, task: Task) -> str:
        if not self.engine:
            done = task.run("migrate")
            assert done.returncode == 0, done.stderr
            return self._stack.enter_context(task.serving(self._folder))
        image = task.containers["serve"]["image"]
        return self._stack.enter_context(task.serving_container(image))

    def _push_images(self) -> None:
        with self.report.step("make build-and-push") as checks:
            if self.engine:
                deploying = self._credentials(StackOutput.DEPLOYING_ROLE)
                for image in (Image.TRAIN, Image.SERVE):
                    make(self.account, "build-and-push", f"ARGS={image}", **deploying)
                checks.append("train and serve, as the deploying role")
            else:
                for image in (Image.TRAIN, Image.SERVE):
                    put_image(self.account, self.stage, image)
                checks.append("skipped: empty images stand in")

    def _train_here(self) -> Any:
        with self.report.step("make train") as checks:
            store = f"sqlite:///{self._folder}/mlflow.db"
            result = self._train(STACK_TRACKING__URI=store)
            checks.append(f"{len(result['leaderboard'])} combinations here, to compare with")
        return result

    def _train_on_aws(self, expected: Any) -> None:
        deploying = self._credentials(StackOutput.DEPLOYING_ROLE)
        spot = {**deploying, "STACK_TRAINING__SPOT": "true"}
        self.account.control_jobs(interrupt_after=[INTERRUPT_AFTER])
        with self.report.step("make train TARGET=aws") as checks:
            result = self._train("TARGET=aws", **spot)
            assert leaderboard_of(result) == leaderboard_of(expected)
            assert result["already_tracked"] >= INTERRUPT_AFTER
            checks.append(f"interrupted after {result['already_tracked']}, same leaderboard")
            checks.append("released version " + self._check_release(result))
        with self.report.step("make train TARGET=aws again") as checks:
            again = self._train("TARGET=aws", **spot)
            assert again["parent_run_id"] == result["parent_run_id"]
            checks.append("the same training, no second job")
        with self.report.step("make status TARGET=aws") as checks:
            output = make(self.account, "status", "TARGET=aws", **deploying)
            assert output.count("Completed") == 1
            checks.append("one job, with its cost")
        with self.report.step("the record of all calls") as checks:
            checks.append(self._check_callers())

    def _train(self, *arguments: str, **environment: str) -> Any:
        done = try_make(self.account, "train", *arguments, "ARGS=--json", **GRIDS, **environment)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def _check_release(self, result: Any) -> str:
        bucket = self.outputs[StackOutput.ARTIFACT_BUCKET]
        store = ReleaseStore(f"s3://{bucket}/releases", "house-prices")
        (version,) = store.list_versions()
        manifest, _ = store.load_manifest(version)
        assert manifest.run_id == result["winner"]["run_id"]
        return version

    def _check_callers(self) -> str:
        """Check that jobs and commands acted under their own roles."""
        roles = {
            RoleName.TRAINING: self.outputs[StackOutput.TRAINING_ROLE],
            RoleName.DEPLOYING: self.outputs[StackOutput.DEPLOYING_ROLE],
        }
        calls = self.account.calls()
        for role in roles.values():
            assert any(call["caller"] == role for call in calls), role
        created = [call for call in calls if call["action"] == "CreateTrainingJob"]
        assert {call["caller"] for call in created} == {roles[RoleName.DEPLOYING]}
        return f"{len(calls)} calls; the job under the training role"

    def _credentials(self, role: StackOutput) -> dict[str, str]:
        return self.account.credentials(self.outputs[role])


def main() -> int:
    """Rehearse and print the table; return the exit code."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logger.setLevel(logging.INFO)
    if find_binaries() is None:
        logger.error("error: Postgres is not installed (Debian package: postgresql)")
        return 2
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        rehearsal = Rehearsal(Path(folder), stack)
        try:
            rehearsal.run()
        except AssertionError as error:
            logger.error("error: %s", error)  # noqa: TRY400 - one line
            return 1
        finally:
            rehearsal.report.print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
