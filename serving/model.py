"""A release, loaded: its bytes checked, its graph tried on rows whose answers are known."""

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
    PACKED_FILE,
    PARITY_TOLERANCE,
    PREDICTION,
    Release,
    load_release,
)
from serving.errors import RequestError
from serving.inputs import ModelInputs, RequestRows, Schema

BLOCK = 256
"""Rows that are predicted at once: the imputer's memory grows with them."""
TENSORS = {
    "long": "tensor(int64)",
    "double": "tensor(float)",
    "code": "tensor(double)",
    "boolean": "tensor(bool)",
    "string": "tensor(string)",
}
"""The packed graph's inputs."""


class Model:
    """Predicts; a row gets the same answer alone and in any batch."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        """Load and check a release.

        Args:
            folder: The release's.
            threads: How many blocks of rows may be predicted at the same time.

        Raises:
            ReleaseError: A file isn't what the manifest says, the graph doesn't take the manifest's
                columns, or it predicts otherwise here than where it was released.
        """
        release = load_release(folder)
        self.manifest, self.digest = release.manifest, release.digest
        self.schema = Schema(release.manifest)
        self._session = _load(release)
        self._threads = ThreadPoolExecutor(threads, "block")
        self._check(release)

    def predict(self, table: ModelInputs) -> NDArray[np.float32]:
        """Return a prediction a row.

        Raises:
            RequestError: A prediction is no finite number; the message names the row.
        """
        feeds = dict(table.feeds)
        if table.rows <= BLOCK:
            predictions = self._run(feeds)
        else:
            blocks = [
                {name: values[:, start : start + BLOCK] for name, values in feeds.items()}
                for start in range(0, table.rows, BLOCK)
            ]
            # Each on one thread, so that a row's answer doesn't depend on how many there are.
            predictions = np.concatenate(list(self._threads.map(self._run, blocks)))
        if not np.isfinite(predictions).all():
            row = int(np.argmin(np.isfinite(predictions))) + 1
            raise RequestError(f"row {row}: its numbers are too large: no finite prediction")
        return predictions

    def _run(self, feeds: dict[str, NDArray[np.generic]]) -> NDArray[np.float32]:
        predictions: NDArray[np.float32] = self._session.run([PREDICTION], feeds)[0]
        return predictions

    def _check(self, release: Release) -> None:
        if CHECK_FILE not in release.files:
            return
        known = json.loads(release.files[CHECK_FILE])
        columns = {name: [row.get(name) for row in known["rows"]] for name in self.schema.names}
        try:
            table = self.schema.read(RequestRows(columns, len(known["rows"])))
            answers = self.predict(table)
        except RequestError as error:
            raise ReleaseError(f"{release.name}: {CHECK_FILE}: {error}") from None
        if not np.allclose(answers, known["predictions"], rtol=PARITY_TOLERANCE, atol=0):
            raise ReleaseError(f"{release.name}: predicts otherwise than {CHECK_FILE} says")


def _load(release: Release) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # One: more would add up in another order, and there is a process for each processor.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            release.files[PACKED_FILE], options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's errors have no common type
        reason = str(error).strip().splitlines()[0][:200]
        raise ReleaseError(f"{release.name}: {PACKED_FILE}: {reason}") from None
    takes = {one.name: (one.type, one.shape[0]) for one in session.get_inputs()}
    packs = Counter(column.packed_input for column in release.manifest.columns)
    wanted = {name: (TENSORS[name], count) for name, count in packs.items()}
    gives = [one.name for one in session.get_outputs()]
    if takes != wanted or gives != [PREDICTION]:
        differing = sorted(set(takes.items()) ^ set(wanted.items()))
        what = f"the columns of type {differing[0][0]}" if differing else f"output {gives}"
        raise ReleaseError(f"{release.name}: {PACKED_FILE} and its manifest differ in {what}")
    return session
