"""Does what the machine decides, one effect after the other on a thread: downloads, children, the store, the server."""

from __future__ import annotations

import logging
import queue
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from edgekit_runtime.agent import child, machine, verify
from edgekit_runtime.agent.child import Stopped
from edgekit_runtime.agent.link import Link, Unreachable
from edgekit_runtime.agent.machine import Effect, Figures, Machine
from edgekit_runtime.agent.protocol import Job
from edgekit_runtime.agent.serving import Counts, Serving, ServingError, figures
from edgekit_runtime.agent.store import Slot, Store
from edgekit_runtime.errors import EdgekitError
from edgekit_runtime.signing import Signature

_LOG = logging.getLogger("edgekit_runtime")

News = Callable[[Machine], list[Effect]]
"""What an effect came to, to be told to the machine."""

_FIRST_WAIT, _LONGEST_WAIT = 5.0, 300.0  # seconds between tries of a download
_RETURN = 30.0  # seconds that the server has to load what was there before


@dataclass(frozen=True)
class Tools:
    """What effects are done with.

    Attributes:
        store: The bundles.
        link: The fleet server.
        serving: The process that answers.
        authorization: Gives what the fleet server wants after ``Bearer``.
        keys: Files of pinned public keys.
        allow_unsigned: Whether unsigned bundles are taken.
    """

    store: Store
    link: Link
    serving: Serving
    authorization: Callable[[], str]
    keys: tuple[str, ...] = ()
    allow_unsigned: bool = False


class Hands:
    """Does effects on a thread of its own.

    Args:
        tools: What with.

    Attributes:
        baselines: Job number to what its slot's requests had come to when its bundle took over.
    """

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self.baselines: dict[str, Counts] = {}
        self._todo: queue.SimpleQueue[Optional[tuple[Effect, threading.Event]]] = queue.SimpleQueue()
        self._news: queue.SimpleQueue[News] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edgekit agent", daemon=True)
        self._does: dict[type, Callable[..., None]] = {
            machine.Download: self._download,
            machine.Verify: self._verify,
            machine.Test: self._test,
            machine.Swap: self._swap,
            machine.GoBack: self._go_back,
            machine.Clean: self._clean,
        }
        self._thread.start()

    def do(self, effects: list[Effect]) -> None:
        """Queue effects; `Stop` gives up what is underway and what waits."""
        for effect in effects:
            if isinstance(effect, machine.Stop):
                self._stop.set()
                self._stop = threading.Event()
            else:
                self._todo.put((effect, self._stop))

    def news(self, timeout: float) -> list[News]:
        """What effects came to, and was told, since the last call; waits so many seconds for the first of it."""
        found = []
        try:
            found.append(self._news.get(timeout=timeout))
            while True:
                found.append(self._news.get_nowait())
        except queue.Empty:
            return found

    def tell(self, news: News) -> None:
        """News from elsewhere, in its turn."""
        self._news.put(news)

    def close(self, timeout: float = 10.0) -> None:
        """Give up what is underway and end the thread."""
        self._stop.set()
        self._todo.put(None)
        self._thread.join(timeout)

    def _run(self) -> None:
        while (item := self._todo.get()) is not None:
            effect, stop = item
            if stop.is_set():
                continue
            try:
                self._does[type(effect)](effect, stop)
            except Stopped:
                continue
            except EdgekitError as error:
                self._failed(effect, str(error))
            except Exception as error:  # the agent stays, whatever a disk or a network throws
                _LOG.exception("%s failed", type(effect).__name__)
                self._failed(effect, f"{type(effect).__name__} failed ({type(error).__name__})")

    def _failed(self, effect: Effect, why: str, rejected: bool = False) -> None:
        if isinstance(effect, machine.Clean):
            _LOG.warning("%s", why)
            return
        number = effect.job.job
        self._news.put(lambda m: m.failed(number, why, rejected=rejected))

    def _part(self, job: Job) -> Path:
        return self._tools.store.root / "agent" / f"{job.digest}.part"

    def _download(self, effect: machine.Download, stop: threading.Event) -> None:
        tools, job, wait = self._tools, effect.job, _FIRST_WAIT
        path = f"/api/v1/bundles/{job.digest}"

        def progress(share: float) -> None:
            self._news.put(lambda m: m.fetched(job.job, share))

        while not tools.store.has(job.digest):
            try:
                tools.link.download(path, self._part(job), job.size, tools.authorization(), progress, stop.is_set)
                break
            except Unreachable as error:
                _LOG.warning("%s; trying again in %g s", error, max(wait, error.after))
                if stop.wait(max(wait, error.after)):
                    raise Stopped from error
                wait = min(2 * wait, _LONGEST_WAIT)
        self._news.put(lambda m: m.downloaded(job.job))

    def _verify(self, effect: machine.Verify, stop: threading.Event) -> None:
        tools, job = self._tools, effect.job
        stored = tools.store.has(job.digest)
        path = tools.store.path(job.digest) if stored else self._part(job)
        question = verify.Question(job.sha256, job.digest, job.slot, job.signature, tools.keys, tools.allow_unsigned)
        verdict = verify.ask(path, question, job.limits.verifying, stop)
        if verdict.problem:
            if not stored:
                path.unlink(missing_ok=True)
            self._failed(effect, verdict.problem, verdict.rejected)
            return
        if not stored:
            given = job.signature
            made = given and Signature(given.algorithm, given.key, job.digest, given.signature).to_json()
            tools.store.adopt(path, job.digest, made or None)
        self._news.put(lambda m: m.verified(job.job))

    def _test(self, effect: machine.Test, stop: threading.Event) -> None:
        tools, job = self._tools, effect.job
        command = [sys.executable, "-m", "edgekit_runtime", "selftest", "--json"]
        command += [f"--key={key}" for key in tools.keys] + ["--", str(tools.store.path(job.digest))]
        code, _, said = child.run(command, stop)
        if code != 0:
            last = said.strip().splitlines()[-1:] or [f"exit code {code}"]
            why = last[0].removeprefix("edgekit-runtime: ")[:300]
            self._failed(effect, f"the self-test failed on this device: {why}")
            return
        before = tools.store.slot(job.slot)
        fares = self._figures(job.slot) if before else None
        self._news.put(lambda m: m.tested(job.job, before, fares))

    def _figures(self, slot: str) -> Optional[Figures]:
        try:
            counts = self._tools.serving.counts()
            return figures(self._tools.serving.running().get(slot), counts.get(slot, Counts()))
        except ServingError:
            return None

    def _swap(self, effect: machine.Swap, stop: threading.Event) -> None:
        tools, job = self._tools, effect.job
        tools.store.point(job.slot, job.digest)
        self._load(job.slot, job.limits.swapping, stop)
        runs = tools.serving.running().get(job.slot)
        if runs is None or runs.digest != job.digest or not runs.ready:
            what = "nothing" if runs is None else f"{runs.digest[:16] or 'nothing'}"
            self._failed(effect, f"the server says that it runs {what}, not {job.digest[:16]}")
            return
        self.baselines = {job.job: tools.serving.counts().get(job.slot, Counts())}
        self._news.put(lambda m: m.swapped(job.job))

    def _go_back(self, effect: machine.GoBack, stop: threading.Event) -> None:
        """To the bundle before, or the one before that; where neither is whole, the slot keeps the new one."""
        tools, job, before = self._tools, effect.job, effect.before
        if before is None:
            tools.store.restore(job.slot, None)
            remark = self._unload(job.slot)
            self._news.put(lambda m: m.went_back(job.job, remark))
            return
        back, why = self._to_one_of((before, *([Slot(before.previous)] if before.previous else [])), job, stop)
        if back:
            self._news.put(lambda m: m.went_back(job.job, why))
            return
        stays = f"{why}; {self._stay(job, stop)}"
        self._news.put(lambda m: m.stranded(job.job, stays))

    def _to_one_of(self, slots: Sequence[Slot], job: Job, stop: threading.Event) -> tuple[bool, str]:
        """Whether the job's slot could be put to the first of these that is whole; and what is wrong with others."""
        said: list[str] = []
        for slot in slots:
            if not self._tools.store.has(slot.current):
                said.append(f"bundle {slot.current[:16]} is gone")
                continue
            self._tools.store.restore(job.slot, slot)
            try:
                self._load(job.slot, _RETURN, stop)
            except ServingError as error:
                said.append(f"bundle {slot.current[:16]}: {error}")
                if error.status not in (0, 409):
                    continue  # it answered that it will not run this one; no answer is another matter
            return True, "; ".join([*said, *([f"{slot.current[:16]} runs"] if slot is not slots[0] else [])])
        return False, "; ".join(said)

    def _unload(self, slot: str) -> str:
        try:
            self._tools.serving.unload(slot)
        except ServingError as error:
            return "" if error.status == 404 else str(error)
        return ""

    def _stay(self, job: Job, stop: threading.Event) -> str:
        """Let the slot have the new bundle, since there is no other; says what runs."""
        tools = self._tools
        if not tools.store.has(job.digest):
            tools.store.restore(job.slot, None)
            return f"bundle {job.digest[:16]} is gone too, so nothing runs"
        tools.store.restore(job.slot, Slot(job.digest))
        try:
            self._load(job.slot, _RETURN, stop)
        except ServingError as error:
            return f"{job.digest[:16]} is kept, but nothing runs ({error})"
        return f"{job.digest[:16]} runs on"

    def _load(self, slot: str, seconds: float, stop: threading.Event) -> None:
        """Have the server load what the slot names; waits for one that does not answer yet, or loads just now."""
        until = time.monotonic() + seconds
        while True:
            try:
                self._tools.serving.load(slot, max(1.0, until - time.monotonic()))
                return
            except ServingError as error:
                if error.status not in (0, 409) or time.monotonic() > until:
                    raise
                if stop.wait(0.5):
                    raise Stopped from error

    def _clean(self, effect: machine.Clean, stop: threading.Event) -> None:
        gone = self._tools.store.clean()
        for part in (self._tools.store.root / "agent").glob("[0-9a-f]*.part"):  # and not the journal's, just written
            part.unlink(missing_ok=True)
        if gone:
            _LOG.info("removed %s", ", ".join(d[:16] for d in gone))
