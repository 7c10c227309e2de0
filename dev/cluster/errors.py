"""Error tree of the cluster tool: each error carries the exit code its caller shall see."""

from __future__ import annotations


class ClusterError(Exception):
    """Something the cluster needs is not there; the message ends with what to do about it."""

    exit_code = 1


class MachineUnfitError(ClusterError):
    """This machine may not make namespaces, so no cluster can run on it (exit code 3)."""

    exit_code = 3


class BuildError(ClusterError):
    """A binary could not be built."""


class ApiError(ClusterError):
    """The API server refused a request.

    Attributes:
        status: HTTP status code.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
