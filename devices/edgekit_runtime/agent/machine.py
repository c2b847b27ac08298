"""What the agent decides: one job at a time from QUEUED to its end, without a socket, a clock or a disk.

Whoever drives it hands in what happened and does the effects that come back, in order. Before it does them it keeps
`Machine.to_plain` on the disk: after a crash at any instant `Machine.resume` gives the effects again, and every effect
may be done twice. Time comes in as durations, so that a clock that jumps does nothing.

```
QUEUED → DOWNLOADING → VERIFYING → TESTING → SWAPPING → SOAKING → SUCCEEDED
   └──────────┴────────────┴──────────┴──→ FAILED, REJECTED, TIMED_OUT, CANCELED
                                            SWAPPING, SOAKING → go back → ROLLED_BACK, TIMED_OUT, CANCELED
                                                                   └──→ STRANDED
```

From SWAPPING on the slot may point at the new bundle, so that every end but SUCCEEDED first goes back to the bundle
before it. Where that one is gone or broken, or `MAX_RETURNS` tries to go back fail, the job ends as STRANDED.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Optional, Union

from edgekit_runtime.agent.protocol import (
    CANCELED,
    DOWNLOADING,
    ENDED,
    FAILED,
    QUEUED,
    REJECTED,
    ROLLED_BACK,
    SOAKING,
    STRANDED,
    SUCCEEDED,
    SWAPPING,
    TESTING,
    TIMED_OUT,
    VERIFYING,
    Job,
    JobState,
    Orders,
)
from edgekit_runtime.agent.store import Slot
from edgekit_runtime.plain import decode, encode

MAX_RESTARTS = 3
"""Restarts of the device or the agent while a new bundle swaps or soaks, after which it is taken to be the cause."""

MAX_RETURNS = 20
"""Tries to go back, 30 s apart: a disk that is full may heal, but nothing else can be done for the slot meanwhile."""

ENOUGH = 20
"""Requests from which on a share of failures says something."""

_RETURN_AGAIN = 30.0  # seconds after which going back is tried anew
_REMEMBERED = 32
_COMPARED = 100  # requests on both sides from which on latencies are compared


@dataclass(frozen=True)
class Download:
    """Fetch the job's file, or its rest; nothing to do where the bundle is in the store."""

    job: Job


@dataclass(frozen=True)
class Verify:
    """Check the file's hash, the bundle's digest, structure, name and signature; then take it into the store."""

    job: Job


@dataclass(frozen=True)
class Test:
    """Run the golden samples on this device; then look at what answers in the slot, for `Tested`."""

    job: Job


@dataclass(frozen=True)
class Swap:
    """Point the slot at the bundle, and have the server load it."""

    job: Job


@dataclass(frozen=True)
class GoBack:
    """Put the slot to what it was, and have the server load that."""

    job: Job
    before: Optional[Slot]


@dataclass(frozen=True)
class Stop:
    """Give up whatever is being done for the job."""

    job: Job


@dataclass(frozen=True)
class Clean:
    """Remove what no slot needs."""


Effect = Union[Download, Verify, Test, Swap, GoBack, Stop, Clean]


@dataclass(frozen=True)
class Figures:
    """How the bundle in a slot fares.

    Attributes:
        digest: What the serving process says it runs; empty where it does not answer.
        ready: Whether it says that it is ready.
        degraded: What is wrong though it answers; empty if nothing is.
        requests: Since the swap, failed ones included.
        errors: Of these, those that failed by the server's fault.
        p99: 99th percentile of their latency in seconds; 0 where it is not known.
    """

    digest: str
    ready: bool
    degraded: str = ""
    requests: int = 0
    errors: int = 0
    p99: float = 0.0


@dataclass(frozen=True)
class Underway:
    """A job that is not over.

    Attributes:
        job: The job.
        state: One of `protocol.UNDERWAY`.
        elapsed: Seconds in this state.
        progress: Share of the download.
        before: What the slot was when the bundle was swapped in; meaningful from SWAPPING on.
        before_requests: Requests that the bundle before it had answered.
        before_p99: And their 99th percentile in seconds.
        ending: How it will end once the slot is what it was; empty while it may succeed.
        detail: Why.
        restarts: How often the agent began anew while it swapped or soaked.
        returning: Seconds since going back was last asked for.
        returns: How often it was asked for again.
    """

    job: Job
    state: str = QUEUED
    elapsed: float = 0.0
    progress: float = 0.0
    before: Optional[Slot] = None
    before_requests: int = 0
    before_p99: float = 0.0
    ending: str = ""
    detail: str = ""
    restarts: int = 0
    returning: float = 0.0
    returns: int = 0

    @property
    def swapped(self) -> bool:
        """Whether the slot may point at the new bundle."""
        return self.state in (SWAPPING, SOAKING)


@dataclass(frozen=True)
class _Saved:
    underway: Optional[Underway] = None
    ended: Mapping[str, JobState] = field(default_factory=dict)
    settled: tuple[str, ...] = ()


class Machine:
    """The job in hand, and the ends that the server has not settled.

    Attributes:
        underway: The job in hand; None for none.
        ended: Job number to its last state, until the server settles it.
        settled: The last jobs that the server has settled: a late answer may order them again.
    """

    def __init__(self) -> None:
        self.underway: Optional[Underway] = None
        self.ended: dict[str, JobState] = {}
        self.settled: tuple[str, ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """All of it as JSON data."""
        made: dict[str, Any] = encode(_Saved(self.underway, self.ended, self.settled))
        return made

    @classmethod
    def from_plain(cls, data: Any) -> Machine:
        """What `to_plain` gave.

        Raises:
            PlainDataError: It is not of that form.
        """
        saved = decode(_Saved, data)
        machine = cls()
        machine.underway, machine.ended, machine.settled = saved.underway, dict(saved.ended), saved.settled
        return machine

    def jobs(self) -> tuple[JobState, ...]:
        """What a poll says of the jobs."""
        found = list(self.ended.values())
        if (now := self.underway) is not None:
            found.append(JobState(now.job.job, now.state, now.detail, now.progress))
        return tuple(found)

    # -- what happened ---------------------------------------------------------------------------------------------

    def orders(self, orders: Orders) -> list[Effect]:
        """The server answered a poll."""
        for number in orders.settled:
            if self.ended.pop(number, None) is not None:
                self.settled = (*self.settled, number)[-_REMEMBERED:]
        effects: list[Effect] = []
        now = self.underway
        if now is not None and now.job.job in orders.cancel:
            effects += self._fail(CANCELED, "the server took it back")
        job = orders.job
        if job is None or job.job in (*self.ended, *self.settled, *orders.cancel):
            return effects
        now = self.underway
        if now is not None:
            if now.job.job == job.job or now.swapped:
                return effects  # known; or the slot must come to rest first, and the server asks again
            effects += self._fail(CANCELED, f"job {job.job} came in its place")
        self.underway = Underway(job, DOWNLOADING)
        return [*effects, Download(job)]

    def tick(self, seconds: float) -> list[Effect]:
        """Time has passed."""
        now = self.underway
        if now is None:
            return []
        now = self.underway = replace(now, elapsed=now.elapsed + max(0.0, seconds))
        if now.ending:
            now = self.underway = replace(now, returning=now.returning + max(0.0, seconds))
            if now.returning < _RETURN_AGAIN:
                return []
            if now.returns >= MAX_RETURNS:
                return [Stop(now.job), *self.stranded(now.job.job, f"going back was tried {now.returns + 1} times")]
            self.underway = replace(now, returning=0.0, returns=now.returns + 1)
            return [GoBack(now.job, now.before)]
        limit = now.job.limits.of(now.state)
        if now.elapsed <= limit:
            return []
        return self._fail(TIMED_OUT, f"{now.state} took longer than {limit:g} s")

    def fetched(self, job: str, share: float) -> list[Effect]:
        """So much of the file is there."""
        if (now := self._at(job, DOWNLOADING)) is not None:
            self.underway = replace(now, progress=min(max(share, 0.0), 1.0))
        return []

    def downloaded(self, job: str) -> list[Effect]:
        """`Download` is done."""
        return self._on(job, DOWNLOADING, VERIFYING, Verify)

    def verified(self, job: str) -> list[Effect]:
        """`Verify` is done."""
        return self._on(job, VERIFYING, TESTING, Test)

    def tested(self, job: str, before: Optional[Slot], figures: Optional[Figures] = None) -> list[Effect]:
        """`Test` is done.

        Args:
            job: The job's number.
            before: What the slot is now.
            figures: How the bundle in it has fared; None where there is none.
        """
        now = self._at(job, TESTING)
        if now is None:
            return []
        known = figures or Figures("", False)
        self.underway = replace(now, before=before, before_requests=known.requests, before_p99=known.p99)
        return self._on(job, TESTING, SWAPPING, Swap)

    def swapped(self, job: str) -> list[Effect]:
        """`Swap` is done: the server said that it has loaded the bundle."""
        if self._at(job, SWAPPING) is None:
            return []
        self._move(SOAKING)
        return []

    def observed(self, job: str, figures: Figures) -> list[Effect]:
        """How the new bundle fares, while it soaks."""
        now = self._at(job, SOAKING)
        if now is None:
            return []
        if why := _unfit(now, figures):
            return self._fail(ROLLED_BACK, why)
        if now.elapsed < now.job.soak.seconds or figures.requests < now.job.soak.min_requests or not figures.ready:
            return []
        self._end(SUCCEEDED, f"{figures.requests} requests, {figures.errors} failed")
        return [Clean()]

    def failed(self, job: str, why: str, *, rejected: bool = False) -> list[Effect]:
        """An effect cannot be done.

        Args:
            job: The job's number.
            why: One sentence.
            rejected: Whether the bundle is not what it should be, or not by whom.
        """
        now = self.underway
        if now is None or now.job.job != job:
            return []
        if now.ending:  # going back could not be done; it is tried again
            self.underway = replace(now, detail=_both(now.detail, why))
            return []
        return self._fail(ROLLED_BACK if now.swapped else REJECTED if rejected else FAILED, why)

    def went_back(self, job: str, remark: str = "") -> list[Effect]:
        """`GoBack` is done.

        Args:
            job: The job's number.
            remark: What is wrong with the bundle that answers again; empty if nothing is.
        """
        now = self.underway
        if now is None or now.job.job != job or not now.ending:
            return []
        self._end(now.ending, _both(now.detail, remark))
        return [Clean()]

    def stranded(self, job: str, why: str) -> list[Effect]:
        """`GoBack` cannot be done, now or later.

        Args:
            job: The job's number.
            why: Why, and what runs now.
        """
        now = self.underway
        if now is None or now.job.job != job or not now.ending:
            return []
        self._end(STRANDED, _both(now.detail, why))
        return [Clean()]

    def resume(self) -> list[Effect]:
        """The agent began anew, after a crash or a power cut: what was underway is done again."""
        now = self.underway
        if now is None:
            return [Clean()]
        job = now.job
        if now.ending:
            return [GoBack(job, now.before)]
        if now.swapped:
            now = self.underway = replace(now, restarts=now.restarts + 1)
            if now.restarts > MAX_RESTARTS:
                return self._fail(ROLLED_BACK, f"the device began anew {now.restarts} times since the swap")
        if now.state in (SWAPPING, SOAKING):
            return [Swap(job)] if now.state == SWAPPING else []
        if now.state == VERIFYING:
            return [Verify(job)]
        return [Test(job)] if now.state == TESTING else [Download(job)]

    # -- inside ----------------------------------------------------------------------------------------------------

    def _at(self, job: str, state: str) -> Optional[Underway]:
        """The job in hand, if it is this one, in this state, and has not failed: anything else is late news."""
        now = self.underway
        return now if now is not None and now.job.job == job and now.state == state and not now.ending else None

    def _on(self, job: str, state: str, following: str, effect: Any) -> list[Effect]:
        now = self._at(job, state)
        if now is None:
            return []
        self._move(following)
        return [effect(now.job)]

    def _move(self, state: str) -> None:
        assert self.underway is not None  # noqa: S101 - the caller looked
        progress = 1.0 if state != DOWNLOADING else 0.0
        self.underway = replace(self.underway, state=state, elapsed=0.0, progress=progress)

    def _fail(self, state: str, why: str) -> list[Effect]:
        now = self.underway
        assert now is not None  # noqa: S101 - the caller looked
        if now.ending:  # it goes back already
            return []
        if now.swapped:
            self.underway = replace(now, ending=state, detail=why, returning=0.0)
            return [Stop(now.job), GoBack(now.job, now.before)]
        self._end(state, why)
        return [Stop(now.job), Clean()]

    def _end(self, state: str, why: str) -> None:
        assert self.underway is not None and state in ENDED  # noqa: S101 - the caller looked
        number = self.underway.job.job
        self.ended[number] = JobState(number, state, why, self.underway.progress)
        self.underway = None


def _unfit(now: Underway, figures: Figures) -> str:
    """Why the bundle is not fit to stay; empty while it is."""
    soak = now.job.soak
    if figures.digest and figures.digest != now.job.digest:
        return f"the server runs {figures.digest[:16]} in its place"
    if figures.degraded:
        return figures.degraded
    if figures.requests >= ENOUGH and figures.errors > soak.max_error_rate * figures.requests:
        return f"{figures.errors} of {figures.requests} requests failed, {soak.max_error_rate:.2%} may"
    enough = min(figures.requests, now.before_requests) >= _COMPARED
    if soak.max_latency_ratio and enough and figures.p99 > soak.max_latency_ratio * now.before_p99 > 0:
        return (
            f"its 99th percentile is {figures.p99 / now.before_p99:.1f} times that of the bundle before,"
            f" {soak.max_latency_ratio:g} may be"
        )
    return ""


def _both(first: str, second: str) -> str:
    return f"{first}; {second}" if first and second and second not in first else first or second
