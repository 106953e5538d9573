"""What a client is told that has sent something wrong."""

from contract.errors import StackError


class RequestError(StackError):
    """A request that can't be answered; the message names the row or the column.

    Its codes are MLflow's, so that a client of MLflow's own server understands them.
    """

    def __init__(self, message: str, status: int = 400, error_code: str = "BAD_REQUEST") -> None:
        """Say what is wrong, and under which HTTP status."""
        super().__init__(message)
        self.status = status
        self.error_code = error_code
