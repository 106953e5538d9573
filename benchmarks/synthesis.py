"""The speed of a synthesis, in comparison with what the CDK takes for an empty stack."""

import logging
from collections.abc import Mapping
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.measure import measure
from benchmarks.report import save, show
from contract.paths import PROJECT_ROOT
from scripts.aws.cdk import NODE

logger = logging.getLogger(__name__)

EMPTY, CHECKED, UNCHECKED = (
    "an empty stack",
    "all stacks of dev",
    "all stacks of dev, without CloudFormation's rules",
)
"""The rules are the CDK's own check of each template; an empty stack's is checked as well."""
GOALS = {(CHECKED, EMPTY): "at most 1.5", (UNCHECKED, EMPTY): ""}
COMMANDS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    EMPTY: ("benchmarks.empty", {"JSII_NODE": str(NODE)}),
    CHECKED: ("infra", {}),
    UNCHECKED: ("infra", {"CDK_VALIDATION": "false"}),
}


def run(repeats: int = 3) -> None:
    """Measure all of them in turn, several times; print the ratios and write synthesis.json.

    Args:
        repeats: How often; the first round, which fills the CDK's caches, isn't counted.
    """
    rounds = [_round() for _ in range(repeats + 1)][1:]
    ratios = {pair: [one[pair[0]] / one[pair[1]] for one in rounds] for pair in GOALS}
    file = save(
        "synthesis",
        {"seconds": rounds, "ratios": {f"{a} / {b}": found for (a, b), found in ratios.items()}},
    )
    show(
        "Synthesis, whole processes; the middle of the rounds",
        ("", "seconds", "times an empty stack", "aimed at"),
        [(EMPTY, f"{median(one[EMPTY] for one in rounds):.1f}", "", "")]
        + [
            (
                name,
                f"{median(one[name] for one in rounds):.1f}",
                f"{median(found):.2f} ({min(found):.2f} to {max(found):.2f})",
                GOALS[name, peer],
            )
            for (name, peer), found in ratios.items()
        ],
    )
    logger.info(f"written: {file.relative_to(PROJECT_ROOT)}")


def _round() -> dict[str, float]:
    found = {}
    for name, (module, variables) in COMMANDS.items():
        with TemporaryDirectory() as folder:
            found[name] = measure(module, CDK_OUTDIR=folder, **variables).seconds
    return found
