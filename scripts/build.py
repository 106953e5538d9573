"""Build the container images: `make build`."""

from contract.names import Image
from endpoints.container_engine import find_engine
from scripts.console import main
from scripts.local.images import build_image
from scripts.options import ImagesArgument


def command(images: ImagesArgument = None) -> None:
    """Build the serving, training and MLflow images, labeled with the commit."""
    engine = find_engine()
    for image in images or Image:
        build_image(engine, image)


if __name__ == "__main__":
    main(command)
