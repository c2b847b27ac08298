"""One line per stage; who listens decides how it looks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


@dataclass
class Stage:
    """One step of the work, under way or done.

    Attributes:
        name: What is done, one word or two.
        subject: To what, or with what tool.
        file: The file that came out, if any.
        note: A remark, as a headline figure.
        seconds: Wall clock once it is done.
    """

    name: str
    subject: str = ""
    file: Path | None = None
    note: str = ""
    seconds: float = 0.0
    advance: Callable[[int, int], None] = field(default=lambda _done, _total: None, repr=False)

    def track(self, items: Iterable[T], total: int) -> Iterator[T]:
        """Pass items on and tell how far it is."""
        for done, item in enumerate(items, 1):
            yield item
            self.advance(done, total)


class Progress:
    """Hears of every stage; this one keeps silent and only remembers. The command line's draws."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._done: list[Stage] = []

    @property
    def done(self) -> tuple[Stage, ...]:
        """Finished stages, in order."""
        return tuple(self._done)

    @contextmanager
    def stage(self, name: str, subject: str = "") -> Iterator[Stage]:
        """Run one stage."""
        stage = Stage(name, subject)
        started = self._clock()
        self.started(stage)
        try:
            yield stage
        except BaseException:
            self.failed(stage)
            raise
        stage.seconds = self._clock() - started
        self._done.append(stage)
        self.finished(stage)

    def say(self, remark: str) -> None:
        """One remark for the user."""

    def started(self, stage: Stage) -> None:
        """A stage begins."""

    def finished(self, stage: Stage) -> None:
        """A stage is done."""

    def failed(self, stage: Stage) -> None:
        """A stage broke off."""
