"""The folders of a training container, as SageMaker lays them out below /opt/ml.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html
https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-output.html
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.errors import SettingsError
from contract.training_job import Channel

BASE_VARIABLE = "SAGEMAKER_BASE_DIR"
"""The variable with which SageMaker's own toolkits replace /opt/ml."""


@dataclass(frozen=True)
class Folders:
    """The folders and files that SageMaker and the container exchange."""

    base: Path

    @classmethod
    def from_environment(cls) -> "Folders":
        """Return the folders of this process: below /opt/ml, unless a variable replaces it."""
        return cls(Path(os.environ.get(BASE_VARIABLE) or "/opt/ml"))

    @property
    def model(self) -> Path:
        """What SageMaker uploads as model.tar.gz."""
        return self.base / "model"

    @property
    def output_data(self) -> Path:
        """What SageMaker uploads as output.tar.gz."""
        return self.base / "output" / "data"

    @property
    def failure(self) -> Path:
        """The file whose first 1,024 characters become the job's FailureReason."""
        return self.base / "output" / "failure"

    @property
    def checkpoints(self) -> Path:
        """What SageMaker saves to S3 and restores if a job has a CheckpointConfig."""
        return self.base / "checkpoints"

    def find_channel(self, channel: Channel) -> Path | None:
        """Return the folder of an input channel, or None if the job doesn't have it."""
        folder = self.base / "input" / "data" / channel
        return folder if folder.is_dir() and any(folder.iterdir()) else None

    def read_config(self, name: str) -> dict[str, Any]:
        """Return the content of a configuration file; {} if there is none, as with docker run.

        Args:
            name: `hyperparameters` or `resourceconfig`.

        Raises:
            SettingsError: The file is not a JSON object.
        """
        file = self.base / "input" / "config" / f"{name}.json"
        if not file.exists():
            return {}
        try:
            return dict(json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            raise SettingsError(f"{file}: not a JSON object") from None
