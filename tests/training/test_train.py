"""The default grids on the real data, as tracked in a real store."""

import json
import subprocess
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from numpy.testing import assert_allclose
from sklearn.linear_model import ElasticNet, Ridge
from xgboost import XGBRegressor

from contract.paths import PROJECT_ROOT
from contract.settings.loader import Settings, load_settings
from tests.helpers import Recorder, train_in_process, write_settings
from training.data.dataset import read_training, split
from training.metrics import eval_metrics
from training.result import TrainingResult
from training.runs.tags import WINNER_RUN_ID_TAG
from training.search.grid import plan_grids, prepare_data

Ames = tuple[Settings, TrainingResult, Recorder]


@pytest.fixture(autouse=True)
def tracking_uri(ames: Ames) -> None:
    """Set the tracking URI for MLflow's functions that don't take one."""
    mlflow.set_tracking_uri(ames[1].tracking_uri)


@pytest.fixture(scope="module")
def client(ames: Ames) -> MlflowClient:
    return MlflowClient(ames[1].tracking_uri)


@pytest.fixture(scope="module")
def parent(ames: Ames, client: MlflowClient) -> Run:
    return client.get_run(ames[1].parent_run_id)


@pytest.fixture(scope="module")
def children(client: MlflowClient, parent: Run) -> list[Run]:
    query = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    return list(client.search_runs([parent.info.experiment_id], query, max_results=200))


def _artifact(run: Run, name: str) -> Path:
    return Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path=name))


def test_every_combination_is_a_finished_run_below_one_parent(
    client: MlflowClient, parent: Run, children: list[Run]
) -> None:
    assert len(children) == 78
    assert {run.info.status for run in [parent, *children]} == {"FINISHED"}
    assert len({tuple(sorted(run.data.params.items())) for run in children}) == 78
    families = pd.Series([run.data.params["family"] for run in children]).value_counts()
    assert dict(families) == {"ridge": 6, "elasticnet": 18, "xgboost": 54}
    every = client.search_runs([parent.info.experiment_id], max_results=200)
    assert len(every) == 79


def test_run_records_metrics_datasets_and_commit(children: list[Run]) -> None:
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    for run in children:
        assert set(run.data.metrics) >= {"RMSE", "MAPE", "R2", "fit_seconds"}
        assert run.data.metrics["fit_seconds"] > 0
        assert run.data.tags["mlflow.source.git.commit"] == commit
        inputs = {
            dataset_input.tags[0].value: dataset_input.dataset
            for dataset_input in run.inputs.dataset_inputs
        }
        assert set(inputs) == {"training", "validation"}
        assert json.loads(inputs["training"].profile)["num_rows"] == 1172
        assert json.loads(inputs["validation"].profile)["num_rows"] == 293
        assert inputs["training"].source.count("train.csv")


def test_every_tracked_model_reproduces_its_metrics_from_raw_rows(
    ames: Ames, children: list[Run]
) -> None:
    """All 78, loaded by MLflow, on rows as plain pandas reads them."""
    settings, result, _ = ames
    data_split = split(read_training(settings), settings)
    raw = pd.read_csv(PROJECT_ROOT / "data/train.csv").loc[data_split.X_val.index]
    raw = raw.drop(columns=["Id", "SalePrice"])
    metrics = {entry.run_id: entry.metrics for entry in result.leaderboard}
    for run in children:
        model = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")
        found = eval_metrics(data_split.y_val, model.predict(raw))
        for name, value in metrics[run.info.run_id].items():
            assert found[name] == pytest.approx(value, rel=1e-9), run.info.run_name
            assert run.data.metrics[name] == pytest.approx(value, rel=1e-12)


def test_model_is_saved_without_pickle_and_with_signature_and_requirements(ames: Ames) -> None:
    for family in ("ridge", "elasticnet", "xgboost"):
        entry = next(entry for entry in ames[1].leaderboard if entry.family == family)
        folder = Path(mlflow.artifacts.download_artifacts(f"runs:/{entry.run_id}/model"))
        model = mlflow.models.Model.load(str(folder))

        assert model.flavors["sklearn"]["serialization_format"] == "skops"
        assert not [file for file in folder.rglob("*") if file.suffix in {".pkl", ".pickle", ".py"}]
        columns = {column.name: column for column in model.signature.inputs.inputs}
        assert len(columns) == 79
        assert str(columns["LotArea"].type) == "DataType.long"
        assert columns["LotArea"].required
        assert str(columns["LotFrontage"].type) == "DataType.double"
        assert not columns["LotFrontage"].required
        assert str(columns["MSZoning"].type) == "DataType.string"
        example = model.load_input_example(str(folder))
        assert list(example) == list(columns)
        requirements = (folder / "requirements.txt").read_text().split()
        assert all("==" in requirement for requirement in requirements)
        names = {requirement.split("==")[0] for requirement in requirements}
        assert {"mlflow", "scikit-learn", "skops", "pandas", "numpy"} <= names
        assert bool(names & {"xgboost", "xgboost-cpu"}) == (family == "xgboost")


def test_parent_run_stores_the_data_once(ames: Ames, parent: Run, children: list[Run]) -> None:
    settings, _, _ = ames
    train, val, test = (
        pd.read_csv(_artifact(parent, f"{n}.csv")) for n in ("train", "val", "test")
    )

    assert (len(train), len(val), len(test)) == (1172, 293, 1465)
    data_split = split(read_training(settings), settings)
    assert train["SalePrice"].tolist() == data_split.y_train.tolist()
    assert val["SalePrice"].tolist() == data_split.y_val.tolist()
    assert test["SalePrice"].notna().all()
    assert parent.data.tags["data.digest"] == data_split.digest
    assert not MlflowClient().list_artifacts(children[0].info.run_id)


def test_parent_run_stores_leaderboard_settings_and_code(ames: Ames, parent: Run) -> None:
    _, result, _ = ames
    client = MlflowClient()
    board = client.load_table(parent.info.experiment_id, "leaderboard.json", [parent.info.run_id])

    assert board["run_id"].tolist() == [entry.run_id for entry in result.leaderboard]
    assert board["RMSE"].is_monotonic_increasing
    assert board["rank"].tolist() == list(range(1, 79))
    settings = json.loads(_artifact(parent, "settings.json").read_text())
    assert settings["data"]["label"] == "SalePrice"
    code = _artifact(parent, "code")
    for file in ("training/train.py", "training/families/ridge.py", "contract/settings/loader.py"):
        assert (code / file).read_text() == (PROJECT_ROOT / file).read_text()


def test_only_the_winner_is_scored_on_the_test_rows(
    ames: Ames, client: MlflowClient, parent: Run, children: list[Run]
) -> None:
    _, result, _ = ames
    assert result.winner.metrics["RMSE"] == min(run.data.metrics["RMSE"] for run in children)
    assert parent.data.tags[WINNER_RUN_ID_TAG] == result.winner.run_id
    scored = [run for run in children if "test_RMSE" in run.data.metrics]
    assert [run.info.run_id for run in scored] == [result.winner.run_id]

    raw = pd.read_csv(PROJECT_ROOT / "data/test.csv")
    prices = pd.read_csv(PROJECT_ROOT / "data/test_prices.csv").set_index("Id")["SalePrice"]
    model = mlflow.pyfunc.load_model(f"runs:/{result.winner.run_id}/model")
    by_hand = eval_metrics(prices[raw["Id"]], model.predict(raw))

    assert result.test_metrics is not None
    for name in ("RMSE", "MAPE", "R2"):
        assert result.test_metrics[name] == pytest.approx(by_hand[name], rel=1e-9)
        assert scored[0].data.metrics[f"test_{name}"] == pytest.approx(by_hand[name], rel=1e-9)
        assert parent.data.metrics[f"test_{name}"] == pytest.approx(by_hand[name], rel=1e-9)


def test_progress_reports_each_combination_and_the_best_so_far(ames: Ames) -> None:
    _, result, recorder = ames

    assert recorder.total == len(recorder.entries) == 78
    assert recorder.rows == (1172, 293, 1465)
    best = [entry.metrics["RMSE"] for entry in recorder.bests]
    seen = pd.Series([entry.metrics["RMSE"] for entry in recorder.entries])
    assert_allclose(best, seen.cummin())
    assert recorder.bests[-1] == result.winner


def test_metrics_equal_those_of_separate_fits(ames: Ames) -> None:
    """Families share work among combinations; each must equal a scikit-learn fit of its own."""
    settings, result, _ = ames
    data_split = split(read_training(settings), settings)
    prepared = prepare_data(data_split, settings)
    scaler = prepared.scaler
    X_train = scaler.transform(prepared.X_train).astype(float)
    X_val = scaler.transform(prepared.X_val)
    found = {entry.name: entry.metrics for entry in result.leaderboard}
    for grid in plan_grids(settings):
        for params in grid.combinations:
            if grid.name == "ridge":
                expected = Ridge(**params).fit(X_train, prepared.y_train).predict(X_val)
            elif grid.name == "elasticnet":
                converged = ElasticNet(**params, tol=1e-10, max_iter=1_000_000)
                expected = converged.fit(X_train, prepared.y_train).predict(X_val)
            else:
                regressor = XGBRegressor(**params, random_state=42, n_jobs=1)
                regressor.fit(prepared.X_train, prepared.y_train)
                expected = regressor.predict(prepared.X_val)
            for name, value in eval_metrics(data_split.y_val, expected).items():
                combination = grid.combination_name(params)
                actual = found[combination][name]
                assert actual == pytest.approx(value, rel=1e-6), (combination, name)


def test_models_of_an_unusual_table_reproduce_their_metrics(tmp_path: Path) -> None:
    """Booleans, the text "None", a code with missing values, custom markers, unusual names."""
    random = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "a b": random.normal(size=60),
            "[flag]": random.integers(0, 2, 60).astype(bool),
            "<kind>": random.choice(["None", "null", "?", "x"], 60),
            "code": random.choice([10.0, 20.0, np.nan], 60),
            "seen once": ["only"] + ["often"] * 59,
            "whole": random.integers(0, 9, 60),
        }
    )
    rows["y"] = 3 * rows["a b"] + rows["[flag]"] + random.normal(size=60)
    rows.to_csv(tmp_path / "unusual.csv", index=False, na_rep="-")
    data = {"train": "unusual.csv", "test": "", "test_labels": "", "label": "y", "id": ""}
    missing = ["-", "?"]
    columns = {
        "categorical": ["code", "code"],
        "missing_as_category": ["<kind>"],
        "missing_values": missing,
    }
    file = write_settings(
        tmp_path,
        data=data | columns,
        training={"families": ["ridge", "xgboost"]},
        grids__xgboost={"n_estimators": [20], "max_depth": [2, 3]},
    )
    settings = load_settings(file)

    result = train_in_process(settings)

    mlflow.set_tracking_uri(result.tracking_uri)
    data_split = split(read_training(settings), settings)
    raw = pd.read_csv(tmp_path / "unusual.csv", keep_default_na=False, na_values=missing)
    for entry in result.leaderboard:
        model = mlflow.pyfunc.load_model(f"runs:/{entry.run_id}/model")
        found = eval_metrics(data_split.y_val, model.predict(raw.loc[data_split.X_val.index]))
        assert found["RMSE"] == pytest.approx(entry.metrics["RMSE"], rel=1e-9), entry.name
