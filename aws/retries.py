"""Calls that survive throttling, lost networks and expired credentials, for waits of hours."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from botocore.exceptions import (
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as AwsConnectionError

from aws.account import AwsAccount
from contract.errors import InfraError

logger = logging.getLogger(__name__)

T = TypeVar("T")
EXPIRED = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "RequestExpired",
        "UnrecognizedClientException",
    }
)
"""The codes of an expired token, which differ between services.

https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_general.html
"""
TRANSIENT = frozenset(
    {
        "InternalFailure",
        "InternalServerError",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
PATIENCE_SECONDS = 900.0
"""How long AWS may be unreachable, or throttle, before a call fails."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 20.0


class CredentialsExpiredError(InfraError):
    """The credentials expired, and the credential chain has no new ones."""


def call_patiently(account: AwsAccount, subject: str, call: Callable[[], T]) -> T:
    """Make a call to AWS; repeat it while AWS throttles, fails or can't be reached.

    Args:
        account: Its credentials are read again when they expire.
        subject: What the call is about, for messages.
        call: Makes the call, with a new client from the account each time.

    Raises:
        CredentialsExpiredError: The credentials expired, and there are no new ones.
        InfraError: AWS refuses the call, or was unreachable for PATIENCE_SECONDS.
    """
    deadline, pause = time.monotonic() + PATIENCE_SECONDS, FIRST_PAUSE_SECONDS
    while True:
        try:
            return call()
        except (ClientError, CredentialRetrievalError, SSOError, TokenRetrievalError) as error:
            code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
            if code in EXPIRED or not isinstance(error, ClientError):
                _renew_credentials(account)
                continue
            if code not in TRANSIENT or time.monotonic() > deadline:
                raise InfraError(account.explain(error, subject)) from None
            reason = code
        except NoCredentialsError:
            raise CredentialsExpiredError(
                _explain(account, "there are no AWS credentials")
            ) from None
        except (AwsConnectionError, HTTPClientError) as error:
            reason = " ".join(str(error).split())
            if time.monotonic() > deadline:
                raise InfraError(f"{subject}: {reason}") from None
        if pause == FIRST_PAUSE_SECONDS:
            logger.info("AWS does not respond (%s); trying again", reason)
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _renew_credentials(account: AwsAccount) -> None:
    if not account.renew_credentials():
        reason = "the AWS credentials expired, and the credential chain has no new ones"
        raise CredentialsExpiredError(_explain(account, reason))
    logger.info("The AWS credentials expired; continuing with new ones")


def _explain(account: AwsAccount, reason: str) -> str:
    return f"{reason}; {account.how_to_continue}"
