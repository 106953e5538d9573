"""Ctrl-C at any instruction of the main thread leaves no run RUNNING and no model pending."""

import sys
from types import FrameType
from typing import Any

import pytest
from mlflow import MlflowClient

from contract.process import Interrupted
from contract.settings.loader import Settings
from training.data.dataset import Split, read_training, split
from training.runs.run_lock import is_locked
from training.runs.tracker import Tracker
from training.search.grid import EvaluatedPipeline, fit_grids, plan_grids, prepare_data

SAMPLED = 8
"""Instructions at which the tracking of a combination is interrupted, of tens of thousands."""


class Interrupt:
    """Raises what Ctrl-C raises when so many lines of Python have run in this thread."""

    def __init__(self, line: int) -> None:
        self.lines, self._line = 0, line

    def __enter__(self) -> "Interrupt":
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _trace(self, _frame: FrameType, event: str, _argument: object) -> Any:
        self.lines += event == "line"
        if self.lines == self._line:
            sys.settrace(None)
            raise Interrupted(2)
        return self._trace


class Training:
    """A training of three combinations, the third of which is interrupted."""

    def __init__(self, settings: Settings, data_split: Split) -> None:
        self._split = data_split
        grids = plan_grids(settings)
        prepared = prepare_data(data_split, settings)
        models = fit_grids(grids, prepared, settings.data.seed)
        self._pipelines = [
            EvaluatedPipeline.from_model(model, grids[0], prepared) for model in models
        ]
        self.tracker = Tracker(settings, "a fingerprint")

    def run(self, line: int, whole: bool) -> int:
        """Track; return how many lines ran while an interrupt was possible."""
        interrupt = Interrupt(line)
        if whole:
            with interrupt, self.tracker.parent_run(self._split, None, None) as parent_id:
                self.tracker.log_combination(self._pipelines[0], parent_id)
        else:
            with self.tracker.parent_run(self._split, None, None) as parent_id:
                for pipeline in self._pipelines[:2]:
                    self.tracker.log_combination(pipeline, parent_id)
                with interrupt:
                    self.tracker.log_combination(self._pipelines[2], parent_id)
        return interrupt.lines


@pytest.fixture
def training(change: Any) -> Training:
    settings = change(grids__ridge={"alpha": [1, 2, 3], "fit_intercept": [True]})
    return Training(settings, split(read_training(settings), settings))


@pytest.mark.parametrize("whole", [False, True], ids=["a combination", "the parent run"])
def test_interrupt_at_any_line_leaves_nothing_running(
    training: Training, settings: Settings, whole: bool
) -> None:
    training.run(-1, whole)  # imports and caches
    lines = training.run(-1, whole)
    client = MlflowClient(settings.tracking_uri)
    experiment = client.get_experiment_by_name(settings.training.experiment).experiment_id

    for line in range(lines // 16, lines, lines // SAMPLED):
        with pytest.raises(Interrupted):
            training.run(line, whole)

        for run in client.search_runs([experiment]):
            assert run.info.status in {"FINISHED", "KILLED"}, line
            assert not is_locked(settings.root / ".local/running", run.info.run_id)
        for model in client.search_logged_models([experiment]):
            assert str(model.status) in {"READY", "FAILED"}, line
