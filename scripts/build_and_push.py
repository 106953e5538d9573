"""Build the images and push them to a stage's ECR repositories: `make build-and-push`."""

from aws.account import AwsAccount
from contract.names import Image
from contract.settings.loader import load_settings
from endpoints.container_engine import find_engine
from scripts.aws.ecr import build_and_push
from scripts.console import main
from scripts.options import ImagesArgument


def command(images: ImagesArgument = None) -> None:
    """Build images, push them to a stage's repositories, and print their URIs with digests."""
    account = AwsAccount(load_settings().get_stage())
    engine = find_engine()
    for image in images or Image:
        print(build_and_push(engine, account, image))


if __name__ == "__main__":
    main(command)
