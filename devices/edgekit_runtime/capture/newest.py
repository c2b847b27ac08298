"""The place between two threads that holds one thing: the newest, or the next."""

from __future__ import annotations

from threading import Condition
from typing import Generic, Optional, TypeVar

T = TypeVar("T")


class Newest(Generic[T]):
    """Holds at most one item. Safe to use from several threads.

    Attributes:
        dropped: Items that a newer one took the place of.
    """

    def __init__(self, *, every: bool) -> None:
        """Make it empty.

        Args:
            every: Whether `put` waits until the item before was taken; else it takes that one's place.
        """
        self.dropped = 0
        self._every, self._closed = every, False
        self._item: Optional[T] = None
        self._changed = Condition()

    def put(self, item: T) -> bool:
        """Put an item; False where it was closed."""
        with self._changed:
            if self._every:
                self._changed.wait_for(lambda: self._item is None or self._closed)
            if self._closed:
                return False
            self.dropped += self._item is not None
            self._item = item
            self._changed.notify_all()
            return True

    def take(self) -> Optional[T]:
        """Wait for an item; None once it is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._closed)
            item, self._item = self._item, None
            self._changed.notify_all()
            return item

    def close(self, *, empty: bool = False) -> None:
        """No more items; with `empty` the one that waits goes too."""
        with self._changed:
            self._closed = True
            if empty:
                self._item = None
            self._changed.notify_all()
