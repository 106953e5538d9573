"""A training job: train the grids, release the winner, and leave both where SageMaker expects them.

Everything that must survive an interruption is in the tracking store and in the release store: a
job that is repeated, by SageMaker or by a user, trains what isn't tracked yet.
"""

import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from contract.errors import SettingsError, TrackingError
from contract.names import Image
from contract.release import MANIFEST_FILE, Release
from contract.settings.loader import Settings
from contract.training_job import RESULT_FILE, JobVariable
from training.cluster import SINGLE_HOST, Cluster
from training.progress_lines import LogProgress, LogShareProgress
from training.result import TrainingResult
from training.search.worker import Worker
from training_job.cost import JobCost
from training_job.folders import Folders
from training_job.settings import load_job_settings, read_force

logger = logging.getLogger(__name__)

PASSWORD_VARIABLE = "MLFLOW_TRACKING_PASSWORD"  # noqa: S105 - MLflow's own variable


def run_job(folders: Folders) -> None:
    """Run the whole job.

    Raises:
        StackError: A setting or a table is invalid, a store fails, or the model can't be released.
        OSError: The disk is full.
    """
    started_at = time.monotonic()
    hyperparameters = folders.read_config("hyperparameters")
    force = read_force(hyperparameters)
    settings = load_job_settings(folders, hyperparameters)
    if password := read_password(os.environ):
        # In this process's environment only, where MLflow's client expects it.
        os.environ[PASSWORD_VARIABLE] = password
    cluster = read_cluster(folders, os.environ)
    cost = JobCost(settings, cluster, read_hourly_usd(os.environ), started_at)
    with cost.added_after_failure():
        if not cluster.is_leader:
            _train_share(settings, cluster)
            return
        result = _train(settings, cluster, force)
        from training.release import release  # noqa: PLC0415 - slow to load

        released = release(settings, f"runs:/{result.winner.run_id}/model", read_images(os.environ))
    if result.already_tracked < len(result.leaderboard):
        cost.add_to(result.parent_run_id)
    _write_release(released, folders.model)
    _write_result(result, released, folders.output_data)
    logger.info("Released %s (sha256 %s)", released.name, released.digest[:12])


def _train(settings: Settings, cluster: Cluster, force: bool) -> TrainingResult:
    # The worker loads its libraries while this process loads its own.
    with Worker() as worker:
        from training.train import train  # noqa: PLC0415

        progress = LogProgress()
        result = train(settings, progress, worker, force, cluster)
    progress.finished(result)
    return result


def _train_share(settings: Settings, cluster: Cluster) -> None:
    with Worker() as worker:
        from training.train import train_share  # noqa: PLC0415

        share = train_share(settings, LogShareProgress(cluster.current_host), worker, cluster)
    logger.info("%s tracked its %d combinations", cluster.current_host, share.combinations)


def read_cluster(folders: Folders, environment: Mapping[str, str]) -> Cluster:
    """Return the hosts of the job; this machine alone if it isn't one of SageMaker's.

    Raises:
        SettingsError: resourceconfig.json names no hosts.
    """
    resources = folders.read_config("resourceconfig")
    job = environment.get("TRAINING_JOB_NAME", "")
    resume_id = environment.get(JobVariable.RESUME_ID) or job
    if not resources:
        return replace(SINGLE_HOST, resume_id=resume_id)
    try:
        return Cluster(resume_id, tuple(resources["hosts"]), resources["current_host"])
    except (KeyError, TypeError, ValueError) as error:
        raise SettingsError(f"resourceconfig.json: {error}") from None


def read_password(environment: Mapping[str, str]) -> str:
    """Return the password of MLflow's user from Secrets Manager, by the job's role.

    It is empty if the environment names no secret.

    Raises:
        TrackingError: The secret can't be read; the message names it and the reason.
    """
    secret = environment.get(JobVariable.PASSWORD_SECRET, "")
    if not secret:
        return ""
    import boto3  # noqa: PLC0415 - not needed without a tracking server
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        # The region is the fourth part of an ARN.
        client = boto3.client("secretsmanager", region_name=secret.split(":")[3])
        return str(client.get_secret_value(SecretId=secret)["SecretString"])
    except ClientError as error:
        reason = error.response["Error"].get("Message", str(error))
        raise TrackingError(
            f"secretsmanager:GetSecretValue of {secret}: {reason}; "
            "the job's role must be allowed to read the password of its MLflow user"
        ) from None
    except (BotoCoreError, IndexError) as error:
        raise TrackingError(f"{secret}: the password can't be read: {error}") from None


def read_images(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the digests of the images that belong to the release, by the images' names."""
    variables = {Image.TRAIN: JobVariable.TRAIN_IMAGE, Image.SERVE: JobVariable.SERVE_IMAGE}
    return {image: digest for image, name in variables.items() if (digest := environment.get(name))}


def read_hourly_usd(environment: Mapping[str, str]) -> float | None:
    """Return the price of one instance per hour, in US dollars; None if it isn't known."""
    price = environment.get(JobVariable.HOURLY_USD)
    return float(price) if price else None


def _write_release(released: Release, folder: Path) -> None:
    """Write the release to the folder that SageMaker uploads, its manifest last."""
    files = {**released.files, MANIFEST_FILE: released.manifest.to_bytes()}
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _write_result(result: TrainingResult, released: Release, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    release = {
        "model": released.manifest.model,
        "version": released.manifest.version,
        "digest": released.digest,
    }
    content = {**result.as_json(), "release": release}
    (folder / RESULT_FILE).write_text(json.dumps(content, indent=2))
