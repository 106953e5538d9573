"""What cdk.json starts."""

import json
import os
import sys

from contract.errors import StackError
from contract.settings import load
from infra.app import build, choose_stage


def main() -> int:
    """Synthesise the stage's stacks; a wrong setting is one line, before the CDK has begun."""
    try:
        stage = choose_stage(load(), json.loads(os.environ.get("CDK_CONTEXT_JSON") or "{}"))
    except StackError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    build(stage).synth()
    return 0


if __name__ == "__main__":
    sys.exit(main())
