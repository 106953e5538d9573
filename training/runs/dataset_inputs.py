"""The tables of a training as MLflow's datasets."""

import warnings

from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.pandas_dataset import PandasDataset
from mlflow.entities import Dataset as DatasetEntity
from mlflow.entities import DatasetInput, InputTag
from mlflow.types import Schema

from training.data.dataset import Split
from training.runs.logged_tables import hash_rows
from training.runs.model_writer import infer_schema


def dataset_inputs(data_split: Split) -> list[DatasetInput]:
    """Return the training and the validation rows as MLflow's datasets, to be logged to runs."""
    with warnings.catch_warnings():  # MLflow warns that a path may be a local artifact's
        warnings.filterwarnings("ignore", category=UserWarning, module="mlflow")
        source = resolve_dataset_source(data_split.source)
    datasets = {"training": ("train", data_split.train), "validation": ("val", data_split.val)}
    return [
        DatasetInput(
            DatasetEntity(
                **_FastPandasDataset(
                    dataset.to_frame(), source, str(dataset.y.name), name
                ).to_dict()
            ),
            [InputTag("mlflow.data.context", context)],
        )
        for context, (name, dataset) in datasets.items()
    ]


class _FastPandasDataset(PandasDataset):  # type: ignore[misc]
    """MLflow's dataset, without its slow look at each value for the schema and the digest."""

    def _compute_digest(self) -> str:
        return hash_rows(self.df)[:8]  # as long as MLflow's own

    @property
    def schema(self) -> Schema:
        return infer_schema(self.df)
