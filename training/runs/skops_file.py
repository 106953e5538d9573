"""Writing pipelines as skops files, quickly where they share their steps.

`skops.io.dump` indents the JSON in such a file, which Python then writes and not C, node by node:
that is four fifths of its time and two thirds of the file. And of each pipeline here most nodes are
those of the features, which all pipelines of a training share. Both are saved here by skops's own
functions for the parts of a file; those are not public, so pyproject.toml bounds its version.
"""

import io
import json
import re
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import skops
from sklearn.pipeline import Pipeline
from skops.io._utils import SaveContext, _get_state, get_state

State = dict[str, Any]


class _Saved:
    """Stands in a pipeline for a step whose nodes are there already."""

    def __init__(self, state: State) -> None:
        self.state = state


@_get_state.register  # type: ignore[untyped-decorator]
def _(step: _Saved, _context: SaveContext) -> State:
    return dict(step.state)


class SkopsWriter:
    """Writes pipelines; steps that several of them share are turned into nodes once."""

    def __init__(self) -> None:
        self._shared: dict[tuple[int, ...], tuple[bytes, list[_Saved], SaveContext]] = {}

    def write(self, pipeline: Pipeline, file: Path) -> set[str]:
        """Write a pipeline's file; return the names of all types and functions in it."""
        names, steps = zip(*pipeline.steps, strict=True)
        content, saved = self._save_shared(steps[:-1])
        buffer = io.BytesIO(content)
        with ZipFile(buffer, "a") as archive:
            context = SaveContext(archive)
            whole = Pipeline(list(zip(names, [*saved, steps[-1]], strict=True)))
            state = get_state(whole, context)
            state |= {"protocol": context.protocol, "_skops_version": skops.__version__}
            schema = json.dumps(state)
            archive.writestr("schema.json", schema)
        file.write_bytes(buffer.getbuffer())
        return type_names(schema)

    def _save_shared(self, steps: tuple[object, ...]) -> tuple[bytes, list[_Saved]]:
        key = tuple(map(id, steps))
        if key not in self._shared:
            buffer = io.BytesIO()
            with ZipFile(buffer, "w") as archive:
                context = SaveContext(archive)
                saved = [_Saved(get_state(step, context)) for step in steps]
            # The context is kept: it keeps the objects alive by whose ids the nodes are known.
            self._shared[key] = buffer.getvalue(), saved, context
        return self._shared[key][:2]


def type_names(schema: str) -> set[str]:
    """Return all names in a file's schema that skops's check of types looks at."""
    return set(re.findall(r'"(?:__class__|__module__|module_path|function)": "[^"]*"', schema))
