"""What the fleet server refuses."""

from __future__ import annotations

from edgekit.errors import SdkError


class FleetError(SdkError):
    """A request cannot be done.

    Attributes:
        status: HTTP status that says so.
    """

    def __init__(self, status: int, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.status = status


class ServerError(SdkError):
    """The fleet server does not answer, or refuses.

    Attributes:
        status: HTTP status; 0 where there was no answer.
    """

    status: int = 0
