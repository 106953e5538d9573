"""Writing pipelines as skops files, with compact JSON.

`skops.io.dump` indents the JSON in the file, which makes Python encode it and not C: that is four
fifths of the time, and two thirds of the file.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZipFile

import skops.io
from sklearn.pipeline import Pipeline


def write_skops_file(pipeline: Pipeline, file: Path) -> None:
    """Write a pipeline as a skops file."""
    with _compact_json():
        skops.io.dump(pipeline, file)


def read_type_names(file: Path) -> set[bytes]:
    """Return the names of all types and functions in a skops file, which skops checks."""
    with ZipFile(file) as archive:
        schema = archive.read("schema.json")
    return set(re.findall(rb'"(?:__class__|__module__|module_path|function)": "[^"]*"', schema))


@contextmanager
def _compact_json() -> Iterator[None]:
    """Replace `json.dumps` by one that ignores `indent`: skops has no option for that.

    Other threads get compact JSON meanwhile, which has the same content.
    """
    dumps, encode = json.dumps, json.JSONEncoder().encode
    json.dumps = lambda value, **_: encode(value)
    try:
        yield
    finally:
        json.dumps = dumps
