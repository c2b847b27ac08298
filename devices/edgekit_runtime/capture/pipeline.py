"""Source, model, sinks: the newest sample is answered, and nothing is queued up in front of the model."""

from __future__ import annotations

import dataclasses
import datetime
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any, Callable, Optional

from edgekit_runtime.capture.changes import Changes
from edgekit_runtime.capture.newest import Newest
from edgekit_runtime.capture.plan import Plan
from edgekit_runtime.capture.region import Region
from edgekit_runtime.capture.sinks import About
from edgekit_runtime.capture.sinks.outlet import Outlet
from edgekit_runtime.capture.sources import Sample
from edgekit_runtime.capture.sources.rows import Malformed
from edgekit_runtime.capture.taking import Taking
from edgekit_runtime.cli import plain
from edgekit_runtime.errors import BackendError, EdgekitError
from edgekit_runtime.monitor.histogram import Histogram

_LOOK = 0.1
_FAREWELL = 5.0
_FIRST_PAUSE = 0.5
_PATIENCE = 2.0


@dataclass
class Counts:
    """What happened in a run.

    Attributes:
        seen: Samples that the source gave.
        dropped: Those that a newer one took the place of while the model was busy.
        skipped: Those that the `fps` limit left out.
        answered: Those that were answered.
        failed: Those that gave no answer.
        told: Answers that went to the sinks.
        reopened: Times that the source was opened again.
        lag: From taking a sample to its answer.
        sinks: Name to messages sent, lost, refused, and waiting in the outbox.
    """

    seen: int = 0
    dropped: int = 0
    skipped: int = 0
    answered: int = 0
    failed: int = 0
    told: int = 0
    reopened: int = 0
    lag: Histogram = field(default_factory=Histogram)
    sinks: dict[str, dict[str, int]] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        """JSON data."""
        numbers = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("lag", "sinks")}
        share = {n: None if not self.lag.count else round(1000 * self.lag.percentile(s), 3) for n, s in _SHARES}
        return {**numbers, **share, "sinks": self.sinks}


_SHARES = (("p50_ms", 0.5), ("p99_ms", 0.99))


class Pipeline:
    """One run. `run` is called once; `stop` may come from a signal handler.

    Attributes:
        counts: What happened so far.
        connected: Whether the source gives samples.
        hanging: Whether, after the run, a driver or an interpreter still holds a thread.
    """

    def __init__(
        self,
        plan: Plan,
        answer: Callable[[Any], Any],
        about: About,
        outlets: Sequence[Outlet],
        say: Callable[[str], None],
        *,
        once: int = 0,
        alive: Callable[[str], None] = lambda _status: None,
    ) -> None:
        """Wire it.

        Args:
            plan: The file.
            answer: The model: raw sample to answer.
            about: Names for messages.
            outlets: Where they go.
            say: Where reports go, one sentence each.
            once: Answers after which the run ends; 0 for no such end.
            alive: Called several times a second with a line of status while nothing hangs.
        """
        self.counts = Counts()
        self.connected = self.hanging = False
        self._plan, self._answer, self._about, self._outlets, self._say = plan, answer, about, outlets, say
        self._once, self._alive = once, alive
        self._slot: Newest[Sample] = Newest(every=plan.watch.every)
        self._changes = Changes(plan.watch)
        self._region = Region(plan.watch.region) if plan.watch.region else None
        self._wake = Event()
        self._stopped = False
        self._busy: Optional[float] = None
        self._before = [0, 0]  # seen and skipped of the source's earlier lives
        self._taking = Taking(plan.source, self._slot, plan.watch.fps, self._wake)

    def stop(self) -> None:
        """End the run soon."""
        self._stopped = True
        self._wake.set()

    def run(self) -> Counts:
        """Until the source ends, `once` answers are given, or `stop`.

        Raises:
            SourceLost: The source is not there at the start, or a file cannot be read.
            BackendError: An inference hangs.
            EdgekitError: A sink or the source can never work.
        """
        model = Thread(target=self._answers, name="model", daemon=True)
        model.start()
        self._taking.start()
        try:
            self._watch(model)
        finally:
            begun = self._taking
            begun.leave()
            self._slot.close(empty=True)
            if self._busy is None or time.monotonic() - self._busy < self._plan.watch.answer_timeout:
                model.join(_FAREWELL)
            begun.join(_PATIENCE)
            self.hanging = begun.is_alive() or model.is_alive()
            self._gather()
            for outlet in self._outlets:
                kept = outlet.close(_FAREWELL)
                self.counts.sinks[outlet.name] = {
                    "sent": outlet.sent, "lost": outlet.lost, "refused": outlet.refused, "kept": kept,
                }  # fmt: skip
        return self.counts

    def _watch(self, model: Thread) -> None:
        pause, retry = _FIRST_PAUSE, 0.0
        while not self._stopped and model.is_alive():
            self._wake.wait(_LOOK)
            self._wake.clear()
            self._gather()
            taking, now = self._taking, time.monotonic()
            if self._busy is not None and now - self._busy > self._plan.watch.answer_timeout:
                raise BackendError(f"an inference has not ended for {self._plan.watch.answer_timeout:g} s")
            gone = next((o for o in self._outlets if o.gone), None)
            if gone is not None:
                raise EdgekitError(f"{gone.name}: {gone.gone}")
            if taking.error is not None:
                raise taking.error
            if taking.ended and not self._plan.source.live:
                self._slot.close()
                model.join(self._plan.watch.answer_timeout)  # the last sample
                if model.is_alive():
                    raise BackendError(f"an inference has not ended for {self._plan.watch.answer_timeout:g} s")
                return
            self.connected = taking.is_alive() and bool(taking.seen)
            if self.connected:
                pause = _FIRST_PAUSE
            self._alive(self._line())
            if retry:
                if now >= retry:
                    retry = 0.0
                    self.counts.reopened += 1
                    self._before = [self.counts.seen, self.counts.skipped]
                    self._taking = Taking(self._plan.source, self._slot, self._plan.watch.fps, self._wake)
                    self._taking.start()
                continue
            reason = self._trouble(taking)
            if reason:
                self.connected = False
                taking.leave()
                wait = pause * (0.75 + random.random() / 2)  # noqa: S311 - many cameras must not come back at once
                self._say(f"{reason}; opening it again in {wait:.1f} s")
                pause = min(2 * pause, self._plan.watch.reopen_after)
                retry = now + wait

    def _trouble(self, taking: Taking) -> str:
        """Why the source must be opened again; empty while all is well."""
        if taking.lost is not None:
            never = not self.counts.seen and not self._plan.watch.wait_for_source
            if not self._plan.source.live or never:
                raise taking.lost
            return str(taking.lost)
        if taking.ended:
            return "the source ended"
        quiet = taking.stalled()
        return f"the source gave nothing for {quiet:.1f} s" if quiet else ""

    def _gather(self) -> None:
        self.counts.seen = self._before[0] + self._taking.seen
        self.counts.skipped = self._before[1] + self._taking.skipped
        self.counts.dropped = self._slot.dropped

    def _line(self) -> str:
        c = self.counts
        state = "" if self.connected else "waiting for the source, "
        return f"{state}{c.answered} answers, {c.dropped} dropped, {c.failed} failed"

    def _answers(self) -> None:
        while True:
            sample = self._slot.take()
            if sample is None:
                return
            self._busy = time.monotonic()
            try:
                answer = self._one(sample)
            except EdgekitError as error:
                self._failed(sample, str(error))
                continue
            except Exception as error:
                self._failed(sample, f"{type(error).__name__}: {str(error)[:200]}")
                continue
            finally:
                self._busy = None
            lag = time.monotonic() - sample.taken
            self.counts.answered += 1
            self.counts.lag.add(lag)
            tell, answer = self._changes(answer)
            if tell:
                self._tell(sample, answer, lag)
            if self._once and self.counts.answered >= self._once:
                self.stop()
                return

    def _one(self, sample: Sample) -> Any:
        if isinstance(sample.raw, Malformed):
            raise EdgekitError(sample.raw.reason)
        if self._region is None:
            return self._answer(sample.raw)
        part, left, top = self._region.cut(sample.raw)
        return self._region.back(self._answer(part), left, top)

    def _failed(self, sample: Sample, reason: str) -> None:
        self.counts.failed += 1
        if self.counts.failed <= 10 or self.counts.failed % 1000 == 0:  # a log must not fill the disk
            self._say(f"no answer for {sample.name or 'a sample'}: {reason}")

    def _tell(self, sample: Sample, answer: Any, lag: float) -> None:
        self.counts.told += 1
        at = datetime.datetime.fromtimestamp(sample.at, datetime.timezone.utc)
        message = {
            "model": self._about.model,
            "digest": self._about.digest,
            "run": self._about.run,
            "sequence": self.counts.told,
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "source": self._plan.source_kind,
            **({"name": sample.name} if sample.name else {}),
            "answer": plain(answer),
            "latency_ms": round(1000 * lag, 3),
            "dropped": self._slot.dropped,
        }
        body = json.dumps(message, separators=(",", ":")).encode()
        for outlet in self._outlets:
            outlet.put(body)
