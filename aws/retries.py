"""Calls that survive throttling, lost networks and expired credentials, for waits of hours."""

import logging
import time
from collections.abc import Callable
from http import HTTPStatus
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
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
"""The codes of throttling and of failures of AWS, some of which have the HTTP status 400."""
RETRY_SECONDS = 900.0
"""How long AWS may be unreachable, or throttle, before a call fails."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 20.0


class CredentialsExpiredError(InfraError):
    """The credentials expired, and the credential chain has no new ones."""


def call_with_retries(account: AwsAccount, subject: str, call: Callable[[], T]) -> T:
    """Make a call to AWS; repeat it while AWS throttles, fails or can't be reached.

    Args:
        account: Its credentials are read again when they expire.
        subject: What the call is about, for messages.
        call: Makes the call, with a new client from the account each time.

    Raises:
        CredentialsExpiredError: The credentials expired, and there are no new ones.
        InfraError: AWS refuses the call, or was unreachable for RETRY_SECONDS.
    """
    deadline, pause = time.monotonic() + RETRY_SECONDS, FIRST_PAUSE_SECONDS
    while True:
        try:
            return call()
        except (ClientError, CredentialRetrievalError, SSOError, TokenRetrievalError) as error:
            expired = not isinstance(error, ClientError) or _code(error) in EXPIRED
            if isinstance(error, ClientError) and (
                not (expired or _is_transient(error)) or time.monotonic() > deadline
            ):
                raise InfraError(account.explain(error, subject)) from None
            if expired:
                _renew_credentials(account)
                reason = "the AWS credentials expired; continuing with new ones"
            else:
                reason = f"{subject}: {_code(error)}; trying again"
        except NoCredentialsError:
            raise CredentialsExpiredError(
                _explain(account, "there are no AWS credentials")
            ) from None
        except (AwsConnectionError, HTTPClientError) as error:
            text = " ".join(str(error).split())
            if time.monotonic() > deadline:
                raise InfraError(f"{subject}: {text}") from None
            reason = f"{subject}: {text}; trying again"
        if pause == FIRST_PAUSE_SECONDS:
            logger.info("%s", reason)
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _code(error: Exception) -> str:
    return str(error.response["Error"]["Code"]) if isinstance(error, ClientError) else ""


def _is_transient(error: ClientError) -> bool:
    # The response to a HEAD request has no body: its code is the HTTP status.
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    is_failure = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return _code(error) in TRANSIENT or is_failure or status == HTTPStatus.TOO_MANY_REQUESTS


def _renew_credentials(account: AwsAccount) -> None:
    if not account.renew_credentials():
        reason = "the AWS credentials expired, and the credential chain has no new ones"
        raise CredentialsExpiredError(_explain(account, reason))


def _explain(account: AwsAccount, reason: str) -> str:
    return f"{reason}; {account.how_to_continue}"
