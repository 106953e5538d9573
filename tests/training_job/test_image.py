"""The training image, built and run as on SageMaker, and as on a laptop."""

import json
import subprocess
import time
from pathlib import Path

import pytest

from contract.names import Image
from contract.release import load_release
from tests.durability.trainings import Leaderboard, leaderboard_of
from tests.images import ENGINE, build, engine, needs_engine
from tests.training_job.container import lay_out, result_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), needs_engine]


@pytest.fixture(scope="module")
def image() -> str:
    return build(Image.TRAIN)


def test_container_is_stopped_and_resumes_from_its_checkpoints(
    image: str, tmp_path: Path, uninterrupted: Leaderboard
) -> None:
    opt_ml = lay_out(tmp_path)
    command = ("--network=none", f"--volume={opt_ml}:/opt/ml", image, "train")
    name = engine("run", "--detach", *command)
    try:
        deadline = time.monotonic() + 120
        while '"tracked": 2,' not in engine("logs", name):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        started = time.monotonic()
        engine("stop", "--time", "120", name)

        assert time.monotonic() - started < 120
        state = "{{.State.ExitCode}}"
        assert engine("container", "inspect", "--format", state, name) == "143"
    finally:
        engine("rm", "--force", name, check=False)
    assert not (opt_ml / "output/data/result.json").exists()

    log = engine("run", "--rm", *command)

    result = result_of(opt_ml)
    assert leaderboard_of(result) == uninterrupted, log
    assert result["already_tracked"] >= 2
    assert load_release(opt_ml / "model").digest == result["release"]["digest"]


def test_container_without_settings_fails_in_one_line(image: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [ENGINE, "run", "--rm", "--network=none", f"--volume={tmp_path}:/opt/ml", image, "train"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    (line,) = done.stdout.splitlines()
    assert line.startswith("error: SettingsError: /opt/ml/input/data/config: expected one file")
    assert (tmp_path / "output/failure").read_text() == line.removeprefix("error: ")


def test_image_contains_no_data_no_settings_and_no_commands(image: str) -> None:
    script = (
        "import importlib.util as u, pathlib;"
        "names = 'serving endpoints scripts infra mlflow_server aws aws_cdk sagemaker';"
        "print([n for n in names.split() if u.find_spec(n)],"
        "[str(p) for p in pathlib.Path('/opt/stack').rglob('*')"
        " if p.suffix in ('.csv', '.toml', '.db')])"
    )
    assert engine("run", "--rm", "--entrypoint=python", image, "-c", script) == "[] []"
    config = json.loads(engine("image", "inspect", "--format", "{{json .Config}}", image))
    assert config["Entrypoint"] == ["python", "-m", "training_job"]
    assert config["Cmd"] == ["train"]
    assert not [entry for entry in config["Env"] if "PASSWORD" in entry or "SECRET" in entry]
