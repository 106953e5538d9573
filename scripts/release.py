"""Release the winner of the latest training, or any tracked model: `make release`."""

from typing import TYPE_CHECKING, Annotated

import typer

from contract.settings import load
from scripts.console import main, say

if TYPE_CHECKING:
    from contract.release import Release


def command(
    model: Annotated[str, typer.Option(help="runs:/<id>/model or models:/<name>/<version>.")] = "",
) -> None:
    """Release a tracked model as an ONNX graph with its manifest; show what was released."""
    settings = load()
    say(f"Releasing {model or 'the winner of the latest training'} as {settings.release.model}")
    from training.release import release  # noqa: PLC0415 - seconds, after the first line

    done = release(settings, model or None, say)
    show(done, settings.path(settings.release.store))


def show(release: "Release", store: str) -> None:
    """Print what is released, and where."""
    manifest = release.manifest
    print(f"Released: {release.name} ({manifest.family}, sha256 {release.digest[:12]})")
    print(f"In {store}/{manifest.model}/{manifest.version}")


if __name__ == "__main__":
    main(command)
