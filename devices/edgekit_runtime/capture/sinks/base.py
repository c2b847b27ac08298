"""What a sink is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional


class Away(Exception):
    """The other side cannot be reached, or has no room, right now."""


class Gone(Exception):
    """The other side will not come back: the run ends."""


@dataclass(frozen=True)
class About:
    """What a sink may tell of the run.

    Attributes:
        model: Name of the model.
        digest: Digest of the bundle.
        run: Identity of this run.
    """

    model: str
    digest: str
    run: str


class Sink(ABC):
    """Settings of a sink (a frozen dataclass); `open` gives the sender."""

    outbox: str = ""
    """File that keeps messages while the other side is away; empty for memory alone."""
    room: int = 1000
    """Messages that may wait in memory."""
    keep: int = 10_000
    """Messages that may wait in the outbox."""

    @abstractmethod
    def open(self, about: About) -> Sender:
        """Check what can be checked, and make the sender; the other side may be away.

        Raises:
            UsageError: A secret or certificate cannot be read.
            MissingRequirement: A package is not installed.
        """


class Sender(ABC):
    """Sends messages; used by one thread.

    Attributes:
        refused: Messages that the other side did not want.
        why: Why it did not want the last one.
    """

    refused: int = 0
    why: str = ""

    @abstractmethod
    def send(self, messages: Sequence[tuple[str, bytes]]) -> int:
        """Send messages in order.

        Args:
            messages: Key and body of each; one that is sent again has the same key.

        Returns:
            How many of the first ones are done with: at the other side, or refused by it.

        Raises:
            Away: Nothing could be sent.
            Gone: Nothing ever will be.
        """

    def close(self, state: Optional[str] = None) -> None:
        """Say goodbye."""
