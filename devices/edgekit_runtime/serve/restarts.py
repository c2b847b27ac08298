"""When a process that was lost is started again, and when that has been tried often enough."""

from __future__ import annotations

import time
from collections import deque
from typing import Callable

_LONGEST = 30.0
_LONGEST_AFTER = 600.0  # between tries when there is nothing left to fall back to


class Restarts:
    """Counts losses; knows how long to wait.

    Args:
        limit: Restarts within the window that are tolerated.
        window: Its length in seconds.
        backoff: Seconds before the second restart.
        clock: Monotonic seconds.
    """

    def __init__(self, limit: int, window: float, backoff: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._window, self._backoff, self._clock = limit, window, backoff, clock
        self._losses: deque[float] = deque()
        self._over = 0

    def lost(self) -> None:
        """Count a loss."""
        self._over = self._over + 1 if self.used_up else 0
        self._losses.append(self._clock())

    @property
    def recent(self) -> int:
        """Losses within the window."""
        while self._losses and self._losses[0] < self._clock() - self._window:
            self._losses.popleft()
        return len(self._losses)

    @property
    def used_up(self) -> bool:
        """Whether there were more losses than restarts are tolerated."""
        return self.recent > self._limit

    @property
    def pause(self) -> float:
        """Seconds to wait before the next start."""
        recent = self.recent
        if self.used_up:
            return min(self._backoff * 2.0 ** min(self._limit + self._over + 1, 40), _LONGEST_AFTER)
        return 0.0 if recent < 2 else min(self._backoff * 2.0 ** min(recent - 2, 40), _LONGEST)

    def clear(self) -> None:
        """Begin anew, with another bundle."""
        self._losses.clear()
        self._over = 0
