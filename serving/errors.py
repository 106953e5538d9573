"""The error of an invalid request, with its HTTP status and error code."""

from contract.errors import StackError


class RequestError(StackError):
    """A request that can't be processed; the message names the row or the column.

    The error codes are MLflow's, so that clients of MLflow's own server understand them.
    """

    def __init__(self, message: str, status: int = 400, error_code: str = "BAD_REQUEST") -> None:
        """Create the error.

        Args:
            message: One line for the client: what is invalid, and where.
            status: The HTTP status of the response.
            error_code: MLflow's error code.
        """
        super().__init__(message)
        self.status = status
        self.error_code = error_code
