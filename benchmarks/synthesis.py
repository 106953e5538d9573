"""The speed of `cdk synth`, compared with that of an empty stack."""

import logging
from collections.abc import Mapping
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.measure import measure
from benchmarks.report import print_table, save_results
from contract.paths import PROJECT_ROOT
from scripts.aws.cdk import NODE

logger = logging.getLogger(__name__)

EMPTY, CHECKED, UNCHECKED = (
    "an empty stack",
    "all stacks of dev",
    "all stacks of dev, without CloudFormation's rules",
)
"""The CDK itself checks each template by CloudFormation's rules, also that of the empty stack."""
GOALS = {(CHECKED, EMPTY): "at most 1.5", (UNCHECKED, EMPTY): ""}
COMMANDS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    EMPTY: ("benchmarks.empty_stack", {"JSII_NODE": str(NODE)}),
    CHECKED: ("infra", {}),
    UNCHECKED: ("infra", {"CDK_VALIDATION": "false"}),
}


def run(repeats: int = 3) -> None:
    """Measure each app once per round; print the ratios and write synthesis.json.

    Args:
        repeats: The number of rounds, after one that fills the CDK's caches and isn't counted.
    """
    rounds = [_round() for _ in range(repeats + 1)][1:]
    ratios = {pair: [times[pair[0]] / times[pair[1]] for times in rounds] for pair in GOALS}
    file = save_results(
        "synthesis",
        {"seconds": rounds, "ratios": {f"{a} / {b}": values for (a, b), values in ratios.items()}},
    )
    print_table(
        "Synthesis, whole processes; median of the rounds",
        ("", "seconds", "times an empty stack", "goal"),
        [(EMPTY, f"{median(times[EMPTY] for times in rounds):.1f}", "", "")]
        + [
            (
                name,
                f"{median(times[name] for times in rounds):.1f}",
                f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})",
                GOALS[name, reference],
            )
            for (name, reference), values in ratios.items()
        ],
    )
    logger.info(f"written: {file.relative_to(PROJECT_ROOT)}")


def _round() -> dict[str, float]:
    seconds = {}
    for name, (module, variables) in COMMANDS.items():
        with TemporaryDirectory() as folder:
            seconds[name] = measure(module, CDK_OUTDIR=folder, **variables).seconds
    return seconds
