"""A release, loaded: its bytes checked, its graph tried on rows whose answers are known."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from contract.errors import ReleaseError
from contract.release import CHECK_FILE, MODEL_FILE, PREDICTION, Column, Release, read_release
from serving.errors import RequestError
from serving.table import Frame, Schema, Table

BLOCK = 1024
"""Rows that are predicted at once: the imputer's memory grows with them."""
TOLERANCE = 1e-5
"""By how much an answer may differ, relatively, from what the release says of the same row."""
TENSORS = {"long": "tensor(int64)", "boolean": "tensor(bool)", "string": "tensor(string)"}


class Model:
    """Predicts; a row gets the same answer alone and in any batch."""

    def __init__(self, folder: Path) -> None:
        """Load and check a release.

        Raises:
            ReleaseError: A file isn't what the manifest says, the graph doesn't take the manifest's
                columns, or it predicts otherwise here than where it was released.
        """
        release = read_release(folder)
        self.manifest, self.digest = release.manifest, release.digest
        self.schema = Schema(release.manifest)
        self._session = _load(release)
        self._check(release)

    def predict(self, table: Table) -> NDArray[np.float32]:
        """Return a prediction a row.

        Raises:
            RequestError: A prediction is no finite number; the message names the row.
        """
        feeds = dict(table.feeds)
        if table.rows <= BLOCK:
            predictions = self._session.run([PREDICTION], feeds)[0]
        else:
            blocks = [
                {name: values[start : start + BLOCK] for name, values in feeds.items()}
                for start in range(0, table.rows, BLOCK)
            ]
            predictions = np.concatenate(
                [self._session.run([PREDICTION], block)[0] for block in blocks]
            )
        if not np.isfinite(predictions).all():
            row = int(np.argmin(np.isfinite(predictions))) + 1
            raise RequestError(f"row {row}: its numbers are too large: no finite prediction")
        answer: NDArray[np.float32] = predictions
        return answer

    def _check(self, release: Release) -> None:
        if CHECK_FILE not in release.files:
            return
        known = json.loads(release.files[CHECK_FILE])
        columns = {name: [row.get(name) for row in known["rows"]] for name in self.schema.names}
        try:
            table = self.schema.read(Frame(columns, len(known["rows"])))
            answers = self.predict(table)
        except RequestError as error:
            raise ReleaseError(f"{release.name}: {CHECK_FILE}: {error}") from None
        if not np.allclose(answers, known["predictions"], rtol=TOLERANCE, atol=0):
            raise ReleaseError(f"{release.name}: predicts otherwise than {CHECK_FILE} says")


def _load(release: Release) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # One: more would add up in another order, and there is a process for each processor.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            release.files[MODEL_FILE], options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's errors have no common type
        reason = str(error).strip().splitlines()[0][:200]
        raise ReleaseError(f"{release.name}: {MODEL_FILE}: {reason}") from None
    takes = {one.name: one.type for one in session.get_inputs()}
    wanted = {column.name: _tensor(column) for column in release.manifest.columns}
    gives = [one.name for one in session.get_outputs()]
    if takes != wanted or gives != [PREDICTION]:
        differing = sorted(set(takes.items()) ^ set(wanted.items()))
        what = f'column "{differing[0][0]}"' if differing else f"output {gives}"
        raise ReleaseError(f"{release.name}: {MODEL_FILE} and its manifest differ in {what}")
    return session


def _tensor(column: Column) -> str:
    if column.type == "double":
        return "tensor(double)" if column.role == "code" else "tensor(float)"
    return TENSORS[column.type]
