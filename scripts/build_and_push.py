"""Build the images and push them to a stage's ECR repositories: `make build-and-push`."""

from aws.account import AwsAccount
from aws.images import record_image
from contract.names import Image
from contract.settings.loader import load_settings
from scripts.aws.ecr import build_and_push
from scripts.console import main
from scripts.options import ImagesArgument


def command(images: ImagesArgument = None) -> None:
    """Build images, push those that ECR doesn't have yet, and print their URIs with digests."""
    account = AwsAccount(load_settings().get_stage())
    for image in images or Image:
        uri = build_and_push(account, image)
        if (
            image != Image.MLFLOW
        ):  # a new digest of MLflow's image deploys it: make deploy records it
            record_image(account, image, uri.partition("@")[2])
        print(uri)


if __name__ == "__main__":
    main(command)
