"""One served model: its queue, the process that answers, and what happens when that process is lost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from edgekit_runtime.errors import EdgekitError
from edgekit_runtime.manifest import Manifest
from edgekit_runtime.serve.http import Refused, Reply
from edgekit_runtime.serve.opening import Opening
from edgekit_runtime.serve.process import Child, Done, Job
from edgekit_runtime.serve.restarts import Restarts
from edgekit_runtime.serve.source import Source
from edgekit_runtime.serve.statistics import Statistics
from edgekit_runtime.serve.watching import Watch
from edgekit_runtime.serve.wire import ALIGNMENT

_LOG = logging.getLogger("edgekit_runtime")

LOADING, READY, UNAVAILABLE = "LOADING", "READY", "UNAVAILABLE"


class Model:
    """A name that is served. To be used on one event loop.

    Args:
        name: What it is called.
        opening: How its bundles are opened.
        candidates: Bundles to begin with; the first that is fit runs, the others are what to fall back to.
        problem: Why there is none, or why the one that should be the first is not among them.

    Attributes:
        source: The bundle that runs, or the one that should; None where none can be read.
        running: The variant and back end that run; empty before it is ready.
        batch: Whether requests may have any number of samples; else as many as the manifest says.
        degraded: What is not as it should be although it answers, in one sentence; empty for nothing.
        restarts: How often its process was started again.
        statistics: What happened so far.
        watch: What its processes' monitors have counted.
    """

    def __init__(self, name: str, opening: Opening, candidates: Sequence[Source], problem: str = "") -> None:
        self.name = name
        self.source: Optional[Source] = candidates[0] if candidates else None
        self.running = ""
        self.batch = False
        self.restarts = 0
        self.statistics = Statistics()
        self.watch = Watch()
        self._opening = opening
        self._candidates = list(candidates)
        self._previous: Optional[Source] = None
        self._problem = "" if candidates else problem
        self._fallen = problem if candidates else ""
        self._last_loss = ""
        self._losses = Restarts(opening.restarts, opening.restart_window, opening.backoff)
        self._unloaded = False
        self._child: Optional[Child] = None
        self._children: set[Child] = set()
        self._line: deque[Job] = deque()
        self._task: Optional[asyncio.Task[None]] = None
        self._batching: Optional[asyncio.TimerHandle] = None

    @property
    def manifest(self) -> Manifest:
        """What its bundle says.

        Raises:
            Refused: 503, there is no bundle that can be read.
        """
        if self.source is None:
            raise self._not_ready()
        return self.source.manifest

    @property
    def state(self) -> str:
        """One of ``LOADING``, ``READY`` (also while a process that was lost is started again) and ``UNAVAILABLE``."""
        if self._unloaded or self._problem:
            return UNAVAILABLE
        return READY if self.running else LOADING

    @property
    def reason(self) -> str:
        """Why it is not ready; empty if it is."""
        if self._unloaded:
            return "unloaded"
        return self._problem or ("" if self.running else "still loading")

    @property
    def unloaded(self) -> bool:
        """Whether it was taken out of service."""
        return self._unloaded

    @property
    def degraded(self) -> str:
        """What is not as it should be although it answers, in one sentence; empty for nothing."""
        if self.state != READY:
            return ""
        if self._fallen:
            return self._fallen
        recent = self._losses.recent
        if not recent:
            return ""
        times = "once" if recent == 1 else f"{recent} times"
        window = f"{self._opening.restart_window / 60:g} minutes"
        return f"its process was started again {times} within {window} ({self._last_loss})"

    @property
    def waiting(self) -> int:
        """How many requests wait for their turn."""
        return len(self._line)

    @property
    def processes(self) -> list[int]:
        """Numbers of the processes that are there for it, the one that answers last."""
        return [c.pid for c in sorted(self._children, key=lambda c: c is self._child)]

    def start(self) -> None:
        """Begin to load."""
        if self._candidates:
            self._task = asyncio.get_running_loop().create_task(self._begin())

    async def loaded(self) -> None:
        """Wait until it is ready or has failed."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def submit(self, job: Job) -> asyncio.Future[Reply]:
        """Queue a request; cancelling its answer before its turn drops it.

        Raises:
            Refused: 503 where the model is not ready, 429 where the queue is full.
        """
        if self.state != READY:
            raise self._not_ready()
        limit = self._opening.queue
        if len(self._line) >= limit:
            raise Refused(429, f"{limit} requests wait already", "try again a little later", (("Retry-After", "1"),))
        self._line.append(job)
        job.answer.add_done_callback(lambda _: self._drop(job))
        self._pump()
        return job.answer

    async def load(self, source: Source) -> None:
        """Run another bundle; the one before answers until it is ready, and stays if it is not fit.

        Raises:
            Refused: 422, it is not fit to serve.
        """
        try:
            child = await self._open(source)
        except EdgekitError as error:
            if self.state != READY:
                self._problem = str(error)
            raise Refused(422, f"model {self.name!r} is not fit to serve ({error})") from error
        if self._task is not None:
            self._task.cancel()
            self._task = None
        before = self.source
        if before is not None and self.running and before.digest != source.digest:
            self._replace_previous(before)
        elif before is not None:
            before.close()
        self._fallen = ""
        self._losses.clear()
        self._take_over(child)

    def unload(self) -> None:
        """Take it out of service; requests that wait are answered first."""
        self._unloaded = True
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._child is None:
            self._refuse_all()
        self._pump()

    async def close(self, seconds: float) -> None:
        """Unload, wait for its processes, and kill those that are there for longer than `seconds`."""
        self.unload()
        if self._children:
            await asyncio.wait([asyncio.ensure_future(c.gone.wait()) for c in self._children], timeout=seconds)
        for child in self._children:
            child.kill()
        for child in tuple(self._children):
            await child.gone.wait()
        for source in (self.source, self._previous, *self._candidates):
            if source is not None:
                source.close()

    async def snapshot(self, seconds: float, *, anyway: bool = True) -> None:
        """Ask its process what its monitor has counted; with `anyway` off only where there may be news."""
        child = self._child
        if child is not None and self._opening.monitor and (anyway or child.dirty or self.watch.open(id(child))):
            await child.snapshot(seconds)

    def done(self, child: Child, jobs: Sequence[Job], results: Sequence[Done]) -> None:
        for job, result in zip(jobs, results):
            self.statistics.ran(result)
            if not job.answer.done():
                job.answer.set_result(result.reply)
        if child is self._child:
            self._pump()

    def watched(self, child: Child, said: Mapping[str, Any]) -> None:
        self.watch.take(id(child), child.source, said)

    def lost(self, child: Child, jobs: Sequence[Job], why: str, stuck: bool) -> None:
        self._children.discard(child)
        self.watch.gone(id(child))
        for job in reversed(jobs):
            if job.answer.done():
                continue
            if stuck:
                job.answer.set_exception(Refused(504, f"model {self.name!r} {why}; its process was started again"))
            elif job.again:
                job.answer.set_exception(
                    Refused(503, f"model {self.name!r} died twice on this request (its process {why})")
                )
            else:
                job.again = True
                self._line.appendleft(job)
        if child is not self._child:
            self._pump()
            return
        self._child = None
        if self._unloaded:
            self._refuse_all()
            return
        self._last_loss = f"it {why or 'ended'}"
        _LOG.error("%s: its process %s", self.name, why or "ended")
        self._losses.lost()
        self._task = asyncio.get_running_loop().create_task(self._mend())

    async def _open(self, source: Source) -> Child:
        """A process that is ready.

        Raises:
            EdgekitError: The bundle is not fit; says why.
        """
        try:
            child = Child(source, self._opening, self, gently=self._child is not None)
        except OSError as error:
            raise EdgekitError(f"no process can be started for it ({error.strerror or error})") from error
        self._children.add(child)
        try:
            await child.opened
        except BaseException:
            child.kill()
            raise
        return child

    def _take_over(self, child: Child) -> None:
        """From here on `child` answers; the one before it finishes what it has."""
        before, self._child = self._child, child
        said = child.opened.result()
        self.source, self.running, self.batch = child.source, said["running"], said["batch"]
        self._problem, self._unloaded = "", False
        _LOG.info("%s is ready: %s", self.name, self.running)
        if before is not None:
            before.finish()
        self._pump()

    async def _begin(self) -> None:
        """Run the first candidate that is fit."""
        for place, source in enumerate(self._candidates):
            self.source = source
            try:
                child = await self._open(source)
            except EdgekitError as error:
                _LOG.error("%s: bundle %s is not fit to serve (%s)", self.name, source.digest[:16], error)
                self._fallen = self._fallen or str(error)
                continue
            if self._fallen:
                self._fallen = f"the previous bundle {source.digest[:16]} runs, since {self._fallen}"
                _LOG.error("%s: %s", self.name, self._fallen)
            rest = self._candidates[place + 1 :]
            self._candidates = []
            self._previous = rest[0] if rest else None
            self._take_over(child)
            return
        self.source, self._problem = self._candidates[0], self._fallen

    async def _mend(self) -> None:
        """Start the process again, or the previous bundle's, until one is ready."""
        while True:
            if self._losses.used_up:
                if await self._fall_back():
                    return
                self._problem = f"{self._last_loss}; it was started again {self._opening.restarts} times in vain"
                self._refuse_all()
            await asyncio.sleep(self._losses.pause)
            if self.source is None:
                return
            try:
                child = await self._open(self.source)
            except EdgekitError as error:
                self._last_loss = str(error)
                self._losses.lost()
                continue
            self.restarts += 1
            self._take_over(child)
            return

    async def _fall_back(self) -> bool:
        """Run the previous bundle, if there is one and it is fit."""
        source, self._previous = self._previous, None
        if source is None:
            return False
        try:
            child = await self._open(source)
        except EdgekitError as error:
            _LOG.error("%s: the previous bundle is not fit to serve (%s)", self.name, error)
            source.close()
            return False
        bad = self.source
        self._fallen = (
            f"the previous bundle {source.digest[:16]} runs, since the process of "
            f"{bad.digest[:16] if bad else 'the one after it'} was lost {self._losses.recent} times ({self._last_loss})"
        )
        _LOG.error("%s: %s", self.name, self._fallen)
        if bad is not None:
            bad.close()
        self._losses.clear()
        self.restarts += 1
        self._take_over(child)
        return True

    def _replace_previous(self, source: Source) -> None:
        if self._previous is not None:
            self._previous.close()
        self._previous = source

    def _not_ready(self) -> Refused:
        return Refused(503, f"model {self.name!r} is not ready ({self.reason})")

    def _refuse_all(self) -> None:
        jobs, self._line = list(self._line), deque()
        for job in jobs:
            if not job.answer.done():
                job.answer.set_exception(self._not_ready())

    def _drop(self, job: Job) -> None:
        """Give its place and its body free, also where the client went before its turn."""
        if job in self._line:
            self._line.remove(job)
        job.parts = ()

    def _pump(self) -> None:
        """Hand the process the next request, or the next batch."""
        child = self._child
        if child is None or child.jobs:
            return
        if not self._line:
            if self._unloaded:
                self._child = None
                child.finish()
            return
        jobs = self._next(child)
        if jobs:
            child.run(jobs)

    def _next(self, child: Child) -> list[Job]:
        now = time.monotonic()
        most = self._opening.max_batch if child.opened.result()["joins"] else 1
        if most > 1 and len(self._line) < most and not self._unloaded:
            rest = self._line[0].arrived + self._opening.batch_delay - now
            if rest > 0:
                if self._batching is None:
                    self._batching = asyncio.get_running_loop().call_later(rest, self._waited)
                return []
        jobs: list[Job] = []
        room = child.room
        while self._line and len(jobs) < most:
            job = self._line[0]
            if jobs and (job.size + ALIGNMENT > room or job.again):
                break
            self._line.popleft()
            if job.answer.done():  # it was cancelled, or its deadline passed
                continue
            if job.deadline is not None and now > job.deadline:
                job.answer.set_exception(Refused(504, "the deadline passed before the request had its turn"))
                continue
            room -= job.size + ALIGNMENT
            jobs.append(job)
            if job.again:  # it may be what kills, so nobody shares its fate
                break
        return jobs

    def _waited(self) -> None:
        self._batching = None
        self._pump()
