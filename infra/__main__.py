"""What cdk.json starts."""

import gc
import json
import os
import sys

from contract.errors import StackError
from contract.settings.loader import load_settings


def main() -> int:
    """Synthesise a stage: the one that `-c stage=prod` names, else the one that the settings name.

    A wrong setting is one line, before the CDK has begun.
    """
    try:
        context = json.loads(os.environ.get("CDK_CONTEXT_JSON") or "{}")
        stage = load_settings().get_stage(context.get("stage", ""))
    except StackError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    # A short life, in which the CDK's modules stay: looking through them is for nothing, a tenth
    # of the time.
    gc.disable()
    from infra.app import build  # noqa: PLC0415 - the CDK takes seconds to load

    try:
        build(stage).synth()
    except RuntimeError as error:  # all that the CDK's other half raises
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        gc.freeze()  # not at the end either
    return 0


if __name__ == "__main__":
    sys.exit(main())
