"""One host of a training job: /opt/ml, and the container or process that trains.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from contract.paths import PROJECT_ROOT

STOP_SECONDS = 120
"""StopTrainingJob: "SageMaker sends the algorithm the SIGTERM signal, which delays job termination
for 120 seconds" (API_StopTrainingJob.html)."""
FAILURE_LENGTH = 1024
"""The failure file's "first 1024 characters" become the FailureReason
(your-algorithms-training-algo-output.html)."""


@dataclass
class Host:
    """A host, in a folder of its own."""

    name: str
    folder: Path
    request: Mapping[str, Any]
    hosts: tuple[str, ...]

    @property
    def opt_ml(self) -> Path:
        return self.folder / "opt" / "ml"

    def lay_out(self) -> None:
        """Create the folders and the configuration files that a container finds."""
        for folder in ("input/config", "input/data", "model", "output/data", "checkpoints"):
            (self.opt_ml / folder).mkdir(parents=True)
        resources = self.request["ResourceConfig"]
        instance_type = resources["InstanceType"]
        self._write_config("hyperparameters", self.request.get("HyperParameters", {}))
        self._write_config(
            "resourceconfig",
            {
                "current_host": self.name,
                "current_instance_type": instance_type,
                "current_group_name": "homogeneousCluster",
                "hosts": list(self.hosts),
                "network_interface_name": "eth0",
            },
        )
        self._write_config(
            "inputdataconfig",
            {
                channel["ChannelName"]: {
                    "TrainingInputMode": "File",
                    "S3DistributionType": "FullyReplicated",
                    "RecordWrapperType": "None",
                }
                for channel in self.request.get("InputDataConfig", [])
            },
        )

    def download(self, s3: Any) -> None:
        """Copy each channel's objects to its folder, relative to the last folder of the prefix."""
        for channel in self.request.get("InputDataConfig", []):
            uri = channel["DataSource"]["S3DataSource"]["S3Uri"]
            download_prefix(s3, uri, self.opt_ml / "input" / "data" / channel["ChannelName"])

    def start(
        self, environment: Mapping[str, str], engine: str, on_line: Callable[[str], None]
    ) -> None:
        """Start the container; without an engine, its command as a process.

        Args:
            environment: The variables of the request, of SageMaker and of the role.
            engine: The command of the container engine, or "".
            on_line: Receives each line of the output.
        """
        self._engine, self._container = engine, f"{self.request['TrainingJobName']}-{self.name}"
        self._process = subprocess.Popen(
            self._container_command(environment) if engine else _PROCESS_COMMAND,
            cwd=PROJECT_ROOT,
            env=self._environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        (self.folder / "pid").write_text(str(self._process.pid))
        self._reader = Thread(target=self._read, args=(on_line,), daemon=True)
        self._reader.start()

    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait(self) -> int:
        """Return the exit code, after all output was read."""
        code = self._process.wait()
        self._reader.join(10)
        return code

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        if self._engine:
            command = [self._engine, "rm", "--force", self._container]
            subprocess.run(command, capture_output=True, check=False)
        self._process.kill()

    def failure(self) -> str:
        """Return the beginning of the failure file."""
        file = self.opt_ml / "output" / "failure"
        return file.read_text(errors="replace")[:FAILURE_LENGTH] if file.exists() else ""

    def _write_config(self, name: str, content: Mapping[str, Any]) -> None:
        (self.opt_ml / "input" / "config" / f"{name}.json").write_text(json.dumps(content))

    def _container_command(self, environment: Mapping[str, str]) -> list[str]:
        """Return the command that starts the container: `docker run IMAGE train`.

        https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-dockerfile.html
        """
        return [
            *(self._engine, "run", "--rm", "--network=host", f"--name={self._container}"),
            *(f"--volume={self.opt_ml}:/opt/ml", *(f"--env={name}" for name in environment)),
            *(self.request["AlgorithmSpecification"]["TrainingImage"], "train"),
        ]

    def _environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        shell = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "MLFLOW_", "STACK_"))
        }
        own = {} if self._engine else {"SAGEMAKER_BASE_DIR": str(self.opt_ml)}
        return {**shell, **environment, **own}

    def _read(self, on_line: Callable[[str], None]) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            on_line(line.rstrip("\n"))


_PROCESS_COMMAND = [sys.executable, "-m", "training_job", "train"]


def download_prefix(s3: Any, uri: str, folder: Path) -> None:
    """Download all objects below an S3 prefix."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    root = prefix.rpartition("/")[0]
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", []):
            file = folder / entry["Key"].removeprefix(f"{root}/" if root else "")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read())
