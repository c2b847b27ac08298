"""What a source is."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from edgekit_runtime.errors import EdgekitError


class SourceLost(EdgekitError):
    """The source cannot be opened, or vanished; it may come back."""


class End(Exception):
    """A file, folder or stream has no more samples."""


@dataclass(frozen=True)
class Sample:
    """One sample as it was taken.

    Attributes:
        raw: What the bundle's first step takes: an RGB picture (height, width, 3) of uint8, encoded bytes, a row.
        name: File or row it came from; empty for live sources.
        position: Seconds on the source's own clock, for the `fps` limit: time in a film, else the monotonic clock.
        taken: When, on the monotonic clock.
        at: When, in seconds since 1970.
    """

    raw: Any
    name: str = ""
    position: float = field(default_factory=time.monotonic)
    taken: float = field(default_factory=time.monotonic)
    at: float = field(default_factory=time.time)


class Source(ABC):
    """Takes samples one after the other. A source is a frozen dataclass of its settings; `open` gives the taker."""

    live: bool = True
    """Whether it goes on for ever: then it is opened again where it was lost."""
    stall: float = 0.0
    """Seconds without a sample after which it counts as lost; 0 for sources that may be silent."""

    @abstractmethod
    def open(self) -> Taker:
        """Begin to take.

        Raises:
            SourceLost: It is not there.
            MissingRequirement: A package or program is not installed.
        """


class Taker(ABC):
    """An open source, used by one thread; `close` may come from another."""

    @abstractmethod
    def read(self) -> Sample:
        """The next sample; waits for it.

        Raises:
            SourceLost: The source vanished.
            End: There are no more.
        """

    def close(self) -> None:
        """Let go of the device; a `read` that waits ends soon where the source can do that."""
