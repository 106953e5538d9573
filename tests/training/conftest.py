"""An emulated S3 for tables."""

from collections.abc import Iterator

import boto3
import pytest
from cloudpathlib import S3Client
from moto.server import ThreadedMotoServer


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The name of a bucket that boto3 and cloudpathlib find."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        patch.setattr(S3Client, "_default_client", None)  # one that another test created
        boto3.client("s3").create_bucket(Bucket="tables")
        yield "tables"
        # The garbage collector would warn about its folder.
        folder = S3Client.get_default_client()._cache_tmp_dir
        assert folder
        folder.cleanup()
    server.stop()
