"""A sender with its own thread, so that no sink holds up the model, and a queue of bounded size."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from threading import Condition, Thread
from typing import Callable, Optional

from edgekit_runtime.capture.sinks.base import Away, Gone, Sender, Sink
from edgekit_runtime.errors import EdgekitError
from edgekit_runtime.monitor.outbox import MAX_BODY, Outbox

_BATCH = 50
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 30.0


class Outlet:
    """Takes messages at once, and sends them when the other side takes them.

    With an outbox, messages go to the disk first, up to 50 in one commit, and leave it when the other side has
    acknowledged them: they outlive a crash, and go out at the next start.

    Attributes:
        name: What reports call it.
        sent: Messages that the other side has.
        lost: Messages that there was no room for.
        gone: Why nothing more can ever be sent; empty while it can.
    """

    def __init__(
        self, name: str, sink: Sink, sender: Sender, say: Callable[[str], None], *, block: bool, device: str = ""
    ) -> None:
        """Start the thread.

        Args:
            name: What reports call it.
            sink: Its settings.
            sender: What sends.
            say: Where reports go.
            block: Whether `put` waits for room; else the oldest message is dropped.
            device: Who sends, for the outbox.
        """
        self.name, self.sent, self.lost, self.gone = name, 0, 0, ""
        self._sender, self._say, self._block, self._room = sender, say, block, sink.room
        self._outbox = Outbox(Path(sink.outbox), device or name, capacity=sink.keep) if sink.outbox else None
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._batch: list[tuple[str, bytes]] = []
        self._changed = Condition()
        self._number, self._away = 0, ""
        self._deadline: Optional[float] = None
        self._thread = Thread(target=self._work, name=f"sink {name}", daemon=True)
        self._thread.start()

    @property
    def refused(self) -> int:
        """Messages that the other side did not want."""
        return self._sender.refused

    def put(self, body: bytes) -> None:
        """Hand over a message."""
        with self._changed:
            while len(self._waiting) >= self._room and not self.gone:
                if not self._block or self._deadline is not None:
                    self._waiting.popleft()
                    self.lost += 1
                    break
                self._changed.wait(1)
            self._number += 1
            self._waiting.append((str(self._number), body))
            self._changed.notify_all()

    def waiting(self) -> int:
        """Messages in memory and in the outbox."""
        kept = sum(self._outbox.waiting().values()) if self._outbox else 0
        with self._changed:
            return len(self._waiting) + len(self._batch) + kept

    def close(self, seconds: float) -> int:
        """Send what waits for at most so long; what an outbox keeps is for the next run, the rest is lost.

        Returns:
            Messages that wait in the outbox.
        """
        with self._changed:
            self._deadline = time.monotonic() + seconds
            self._changed.notify_all()
        self._thread.join(seconds + 5)
        self._sender.close()
        kept = sum(self._outbox.waiting().values()) if self._outbox else 0
        if self._outbox:
            self.lost += sum(self._outbox.dropped().values()) - self._dropped_before
            self._outbox.close()
        self.lost += len(self._waiting) + len(self._batch)
        return kept

    def _work(self) -> None:
        self._dropped_before = sum(self._outbox.dropped().values()) if self._outbox else 0
        pause, next_try = 0.0, 0.0
        left = self._outbox is not None  # of an earlier run
        while True:
            with self._changed:
                if not self._waiting and not (left or self._batch) and self._deadline is None:
                    self._changed.wait()
                elif time.monotonic() < next_try and self._deadline is None:
                    self._changed.wait(min(0.2, next_try - time.monotonic()))
                ending = self._deadline is not None
                if len(self._batch) < _BATCH:
                    for _ in range(min(_BATCH - len(self._batch), len(self._waiting))):
                        self._batch.append(self._waiting.popleft())
                    self._changed.notify_all()
            if ending and self._deadline is not None and time.monotonic() > self._deadline:
                if self._outbox:
                    with self._changed:
                        self._batch += self._waiting
                        self._waiting.clear()
                    self._spool()
                return
            if self._outbox and self._spool():
                left = True
            if time.monotonic() < next_try:
                if ending:
                    time.sleep(0.05)
                continue
            try:
                left = self._send_some()
                pause = next_try = 0.0
            except Gone as error:
                self.gone = str(error)
                return
            except Away as error:
                if str(error) != self._away:
                    self._away = str(error)
                    self._say(f"{self.name}: {error}; trying again")
                pause = min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE)
                next_try = time.monotonic() + pause
                left = True
                continue
            except (EdgekitError, OSError, ValueError) as error:
                self.gone = str(error)
                return
            if self._away and not left:
                self._say(f"{self.name}: back again")
                self._away = ""
            if ending and not left and not self._batch and not self._waiting:
                return

    def _spool(self) -> bool:
        """What waits goes to the disk; True where something did."""
        assert self._outbox is not None  # noqa: S101 - narrows the type
        fitting = [(k, b) for k, b in self._batch if len(b) <= MAX_BODY]
        self.lost += len(self._batch) - len(fitting)
        self._batch = fitting
        if not fitting:
            return False
        if not self._outbox.put([("sample", body) for _, body in fitting]):
            return False  # a full disk: they stay in memory, and are tried again
        self._batch = []
        return True

    def _send_some(self) -> bool:
        """Send the oldest messages; True where some are left."""
        if self._outbox is None:
            done = self._sender.send(self._batch) if self._batch else 0
            self.sent += done
            del self._batch[:done]
            return bool(self._batch)
        found = self._outbox.peek(_BATCH)
        if not found:
            if self._batch:
                raise Away(self._outbox.problem or "the outbox cannot be written")
            return False
        done = self._sender.send([(f"{m.boot}/{m.sequence}", m.body) for m in found])
        if done:
            self._outbox.acknowledge(found[done - 1].boot, found[done - 1].sequence)
            self.sent += done
        return len(found) == _BATCH or done < len(found)
