"""The thread that takes samples from an open source; it can be left behind where a driver hangs."""

from __future__ import annotations

import time
from threading import Event, Thread
from typing import Optional

from edgekit_runtime.capture.newest import Newest
from edgekit_runtime.capture.sources import End, Sample, Source, SourceLost, base
from edgekit_runtime.errors import EdgekitError

_OPENING = 30.0


class Taking(Thread):
    """One life of a source: opened, read, lost or at its end.

    Attributes:
        seen: Samples that came.
        skipped: Samples that the `fps` limit left out.
        ended: Whether there are no more.
        lost: Why it was lost.
        error: Why it can never work.
    """

    def __init__(self, source: Source, slot: Newest[Sample], fps: float, wake: Event) -> None:
        super().__init__(name="source", daemon=True)
        self.seen = self.skipped = 0
        self.ended = False
        self.lost: Optional[SourceLost] = None
        self.error: Optional[EdgekitError] = None
        self._source, self._slot, self._wake = source, slot, wake
        self._period = 1 / fps if fps else 0.0
        self._taker: Optional[base.Taker] = None
        self._left = False
        self._since: Optional[float] = time.monotonic()  # when the wait for the driver began

    def run(self) -> None:
        """Until the end, a loss, or `leave`."""
        due = float("-inf")
        try:
            self._taker = self._source.open()
            while not self._left:
                self._since = time.monotonic()
                sample = self._taker.read()
                self._since = None
                if self._left:
                    break
                self.seen += 1
                if sample.position < due - 1e-6:
                    self.skipped += 1
                    continue
                # a rhythm rather than pauses: 10 of 30 pictures a second are every third
                due = (
                    max(due + self._period, sample.position)
                    if due > sample.position - self._period
                    else (sample.position + self._period)
                )
                if not self._slot.put(sample):
                    break
        except End:
            self.ended = True
        except SourceLost as error:
            self.lost = error
        except EdgekitError as error:
            self.error = error
        except Exception as error:
            self.lost = SourceLost(f"the source failed ({type(error).__name__}: {str(error)[:200]})")
        finally:
            if self._taker is not None:
                self._taker.close()
            self._wake.set()

    def stalled(self) -> Optional[float]:
        """Seconds that the driver has given nothing, where that is too long."""
        since, stall = self._since, self._source.stall
        if since is None or not stall:
            return None
        limit = stall if self.seen else max(stall, _OPENING)
        quiet = time.monotonic() - since
        return quiet if quiet > limit else None

    def leave(self) -> None:
        """Take no more; does not wait for a driver that hangs."""
        self._left = True
        if self._taker is not None:
            Thread(target=self._taker.close, name="source closing", daemon=True).start()
