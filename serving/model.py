"""A loaded release: its files are checked, and its predictions of known rows compared."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from contract.errors import ReleaseError
from contract.release import (
    CHECK_FILE,
    MANIFEST_FILE,
    PACKED_FILE,
    PARITY_TOLERANCE,
    PREDICTION,
    Release,
    load_release,
)
from serving.errors import RequestError
from serving.inputs import Arrays, ModelInputs, RequestRows, Schema

ROWS_PER_BLOCK = 256
"""How many rows are predicted at once: the imputer's memory grows with their number."""
TENSOR_TYPES = {
    "long": "tensor(int64)",
    "double": "tensor(float)",
    "category": "tensor(double)",
    "boolean": "tensor(bool)",
    "string": "tensor(string)",
}
"""The type of each input of the packed graph (`Column.packed_input`)."""


class Model:
    """The model of a release; a row gets the same prediction alone and in any batch."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        """Load and check a release.

        Args:
            folder: The release folder.
            threads: How many blocks of rows may be predicted at the same time.

        Raises:
            ReleaseError: A file differs from the manifest, the inputs of the graph differ from the
                columns of the manifest, or the predictions differ from those of the release.
        """
        release = load_release(folder)
        self.manifest, self.digest = release.manifest, release.digest
        self.schema = Schema(release.manifest)
        self._session = _load_session(release)
        self._executor = ThreadPoolExecutor(threads, "block")
        self._check_predictions(release)

    def predict(self, inputs: ModelInputs) -> NDArray[np.float32]:
        """Return one prediction per row.

        Raises:
            RequestError: A prediction is not finite; the message names the row.
        """
        arrays = inputs.arrays
        if inputs.row_count <= ROWS_PER_BLOCK:
            predictions = self._run(arrays)
        else:
            blocks = [
                {name: array[:, start : start + ROWS_PER_BLOCK] for name, array in arrays.items()}
                for start in range(0, inputs.row_count, ROWS_PER_BLOCK)
            ]
            # One thread per block, so that a row's prediction doesn't depend on the number of rows.
            predictions = np.concatenate(list(self._executor.map(self._run, blocks)))
        if not np.isfinite(predictions).all():
            row = int(np.argmin(np.isfinite(predictions))) + 1
            raise RequestError(f"row {row}: the prediction is not finite; its values are too large")
        return predictions

    def _run(self, arrays: Arrays) -> NDArray[np.float32]:
        predictions: NDArray[np.float32] = self._session.run([PREDICTION], arrays)[0]
        return predictions

    def _check_predictions(self, release: Release) -> None:
        if CHECK_FILE not in release.files:
            return
        check = json.loads(release.files[CHECK_FILE])
        columns = {name: [row.get(name) for row in check["rows"]] for name in self.schema.names}
        try:
            inputs = self.schema.convert(RequestRows(columns, len(check["rows"])))
            predictions = self.predict(inputs)
        except RequestError as error:
            raise ReleaseError(f"{release.name}: {CHECK_FILE}: {error}") from None
        if not np.allclose(predictions, check["predictions"], rtol=PARITY_TOLERANCE, atol=0):
            raise ReleaseError(f"{release.name}: its predictions differ from {CHECK_FILE}")


def _load_session(release: Release) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # One thread: several would add up in another order, and there is one process per CPU.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            release.files[PACKED_FILE], options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's errors have no common type
        reason = str(error).strip().splitlines()[0][:200]
        raise ReleaseError(f"{release.name}: {PACKED_FILE}: {reason}") from None
    _check_inputs(release, session)
    return session


def _check_inputs(release: Release, session: onnxruntime.InferenceSession) -> None:
    actual = {tensor.name: (tensor.type, tensor.shape[0]) for tensor in session.get_inputs()}
    counts = Counter(column.packed_input for column in release.manifest.columns)
    expected = {name: (TENSOR_TYPES[name], count) for name, count in counts.items()}
    outputs = [tensor.name for tensor in session.get_outputs()]
    if actual != expected or outputs != [PREDICTION]:
        differing = sorted(set(actual.items()) ^ set(expected.items()))
        what = f"the columns of type {differing[0][0]}" if differing else f"the outputs {outputs}"
        files = f"{PACKED_FILE} and {MANIFEST_FILE}"
        raise ReleaseError(f"{release.name}: {files} differ in {what}")
