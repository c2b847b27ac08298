"""One thread, one bounded queue: a runtime is not to be used from two threads at once."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from typing import Any, Callable, Optional

from edgekit_runtime.errors import EdgekitError
from edgekit_runtime.serve.http import Refused

_LOG = logging.getLogger("edgekit_runtime")

Work = Callable[[Any], Any]


def _nothing(tool: Any) -> None:
    """What is left of work that nobody waits for."""


class _Job:
    """A piece of work, and who waits for it."""

    __slots__ = ("deadline", "future", "loop", "work")

    def __init__(self, work: Work, deadline: Optional[float]) -> None:
        self.work: Work = work
        self.deadline = deadline
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()

    def answer(self, result: Any, error: Optional[BaseException]) -> None:
        try:
            self.loop.call_soon_threadsafe(self._deliver, result, error)
        except RuntimeError:  # the loop is closed: nobody waits any more
            pass

    def _deliver(self, result: Any, error: Optional[BaseException]) -> None:
        if self.future.done():  # nobody waits any more
            return
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class Worker:
    """Runs jobs one after the other on a thread of its own.

    Args:
        name: Of the thread.
        open: Called on the thread before the first job; what it gives is handed to every job.
        close: Called with that on the thread after the last job.
        limit: Jobs that may wait.

    Attributes:
        opened: Set when `open` has ended, well or not.
        error: Why it failed, in one sentence; empty if it did not.
    """

    def __init__(self, name: str, open: Callable[[], Any], close: Callable[[Any], None], limit: int) -> None:
        self.opened = threading.Event()
        self.error = ""
        self._open, self._close = open, close
        self._limit = limit
        self._jobs: queue.SimpleQueue[Optional[_Job]] = queue.SimpleQueue()
        self._live: set[_Job] = set()  # of those, the ones that somebody waits for
        self._thread = threading.Thread(target=self._run, name=f"edgekit {name}", daemon=True)

    def start(self) -> None:
        """Begin to open."""
        self._thread.start()

    def submit(self, work: Work, deadline: Optional[float] = None) -> asyncio.Future[Any]:
        """Queue a job; to be called on the event loop. Cancelling the future before its turn drops the job.

        Args:
            work: Called with what `open` gave.
            deadline: Value of `time.monotonic` after which it is not begun any more.

        Raises:
            Refused: 429, as many wait already as may.
        """
        if len(self._live) >= self._limit:
            raise Refused(
                429, f"{self._limit} requests wait already", "try again a little later", (("Retry-After", "1"),)
            )
        job = _Job(work, deadline)
        self._live.add(job)
        job.future.add_done_callback(lambda _: self._drop(job))
        self._jobs.put(job)
        return job.future

    @property
    def waiting(self) -> int:
        """How many jobs wait for their turn."""
        return len(self._live)

    def _drop(self, job: _Job) -> None:
        """Give its place and its body free, also where the client went before its turn."""
        self._live.discard(job)
        job.work = _nothing

    def stop(self) -> None:
        """Close after the jobs that are queued already."""
        self._jobs.put(None)

    def join(self, seconds: float) -> None:
        """Wait for the thread to end."""
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            tool = self._open()
        except EdgekitError as error:
            self.error = str(error)
        except Exception as error:  # whatever an interpreter throws: the server stays, and says so
            _LOG.exception("%s could not be opened", self._thread.name)
            self.error = f"it could not be opened ({type(error).__name__})"
        finally:
            self.opened.set()
        if self.error:
            return
        while True:
            job = self._jobs.get()
            if job is None:
                break
            self._do(job, tool)
        self._close(tool)

    def _do(self, job: _Job, tool: Any) -> None:
        self._live.discard(job)
        work = job.work
        if job.future.done():  # cancelled, or its deadline passed
            return
        if job.deadline is not None and time.monotonic() > job.deadline:
            job.answer(None, Refused(504, "the deadline passed before the request had its turn"))
            return
        try:
            job.answer(work(tool), None)
        except Exception as error:
            job.answer(None, error)
