import math

import pytest

from training.metrics import eval_metrics, loss


def test_metrics_equal_those_computed_by_hand() -> None:
    metrics = eval_metrics([100, 200, 300], [110, 180, 300])

    assert set(metrics) == {"RMSE", "MAPE", "R2"}
    assert metrics["RMSE"] == pytest.approx(math.sqrt((100 + 400 + 0) / 3))
    assert metrics["MAPE"] == pytest.approx((0.1 + 0.1 + 0) / 3)
    assert metrics["R2"] == pytest.approx(1 - 500 / 20_000)


def test_better_predictions_have_a_lower_loss() -> None:
    good = eval_metrics([1, 2, 3], [1, 2, 3.1])
    bad = eval_metrics([1, 2, 3], [3, 2, 1])

    assert loss(good, "R2") < loss(bad, "R2")
    assert loss(good, "RMSE") < loss(bad, "RMSE")
    assert loss(good, "MAPE") < loss(bad, "MAPE")
