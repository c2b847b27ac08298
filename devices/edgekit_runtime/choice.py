"""Which variant, back end and number of threads is fastest on this very device, of those that answer as they should.

A bundle may hold several precisions, and a variant may run on several back ends. What competes is within the export's
accuracy contract (`Variant.within`; the chosen variant always) and passes its golden samples here. Candidates are
measured in turns, several rounds of all of them, since a board's clock sinks as it warms; one model is open at a time,
as its idle threads may spin and memory is small. The outcome is kept by bundle, versions and device.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional, Union

import numpy as np

from edgekit_runtime import __version__
from edgekit_runtime.backends import accelerator_of, backend, backend_names
from edgekit_runtime.bundle import Bundle
from edgekit_runtime.cache import cache_folder, key_of, recall, remember
from edgekit_runtime.errors import BundleError, EdgekitError, MissingRequirement, UsageError
from edgekit_runtime.manifest import Manifest, Variant
from edgekit_runtime.plain import PlainDataError, decode
from edgekit_runtime.runtime import Runtime
from edgekit_runtime.samples import decode_raw
from edgekit_runtime.selftest import selftest

ROUNDS = 3
LEAST = 5  # inferences of a candidate in a round
EQUAL = 0.05
"""Closer than this share to the fastest counts as equal: then the bundle's order decides, and fewer threads."""
_THREADS = (1, 2, 4)
_WARM = 2
_MODEL = Path("/proc/device-tree/model")


@dataclass(frozen=True)
class Candidate:
    """One way to run the bundle here.

    Attributes:
        variant: Variant name.
        backend: Back end name.
        threads: Threads for one inference, None where the back end does not take any.
        p50_ms: Median of one inference from prepared tensors, None where it was not measured.
        reason: Why it was not, in one sentence.
    """

    variant: str
    backend: str
    threads: Optional[int] = None
    p50_ms: Optional[float] = None
    reason: str = ""

    def in_words(self) -> str:
        """``tflite-int8 on litert, 4 threads``."""
        threads = "" if self.threads is None else f", {self.threads} thread{'s' * (self.threads > 1)}"
        return f"{self.variant} on {self.backend}{threads}"


@dataclass(frozen=True)
class Choice:
    """What runs the bundle fastest on this device.

    Attributes:
        variant: Variant name.
        backend: Back end name.
        threads: Threads for one inference, None for the back end's own choice.
        p50_ms: Its median of one inference.
        candidates: Everything that was looked at, in the bundle's order.
        device: The machine, in words.
        remembered: Whether it was measured earlier.
    """

    variant: str
    backend: str
    threads: Optional[int]
    p50_ms: float
    candidates: tuple[Candidate, ...]
    device: str
    remembered: bool = False

    def in_words(self) -> str:
        """One line."""
        chosen = Candidate(self.variant, self.backend, self.threads).in_words()
        when = "measured earlier" if self.remembered else "measured now"
        return f"{chosen}: p50 {self.p50_ms:.3f} ms ({when} on {self.device})"


def device() -> str:
    """This board, as its firmware names it where it does, with architecture and cores."""
    try:
        model = _MODEL.read_text("utf-8", errors="replace").strip("\0 \n")
    except OSError:
        model = ""
    return f"{model or platform.system()}, {platform.machine()}, {cores()} cores"


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_here(
    bundle: Union[str, os.PathLike[str], Bundle],
    *,
    variant: Optional[str] = None,
    backend: Optional[str] = None,
    threads: Optional[int] = None,
    trust: bool = False,
    allow_cpu: bool = False,
    cache: Union[str, os.PathLike[str], None] = None,
    again: bool = False,
    seconds: float = 3.0,
    clock: Callable[[], float] = time.perf_counter,
) -> Choice:
    """Measure what may run the bundle here, or recall it.

    Args:
        bundle: Path or opened bundle.
        variant: The only variant that competes; it need not be within the contract.
        backend: The only back end that competes.
        threads: The only number of threads that competes.
        trust: Whether native code in the bundle may run.
        allow_cpu: Whether the CPU competes where the chosen variant is for an accelerator.
        cache: Folder to keep the outcome in, as `cache_folder`.
        again: Measure though it is known.
        seconds: How long to measure, all candidates together; each gets a least number of inferences.
        clock: Seconds, monotonic.

    Raises:
        MissingRequirement: Nothing that competes can run here; names why of the first.
        EdgekitError: Whatever else kept the first candidate from running.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    try:
        asked = {"variant": variant, "backend": backend, "threads": threads, "trust": trust, "allow_cpu": allow_cpu}
        kept = _place(opened, cache, asked)
        if not again and (known := _known(kept)):
            return known
        choice = _Contest(opened, trust, seconds, clock).run(_candidates(opened.manifest, asked))
        remember(kept, dataclasses.asdict(choice))
        return choice
    finally:
        if opened is not bundle:
            opened.close()


def known_here(bundle: Bundle, cache: Union[str, os.PathLike[str], None] = None) -> Optional[Choice]:
    """What was measured earlier with nothing forced; None where nothing was, or versions have changed."""
    free = {"variant": None, "backend": None, "threads": None}
    for trust, allow_cpu in ((False, False), (True, False), (False, True), (True, True)):
        if choice := _known(_place(bundle, cache, {**free, "trust": trust, "allow_cpu": allow_cpu})):
            return choice
    return None


def options(
    bundle: Union[str, os.PathLike[str], Bundle],
    cache: Union[str, os.PathLike[str], None] = None,
    *,
    trust: bool = False,
    threads: Optional[int] = None,
) -> dict[str, Any]:
    """Settings for `Runtime.open`: what ``EDGEKIT_VARIANT``, ``_BACKEND`` and ``_THREADS`` force, the rest measured.

    Args:
        bundle: Path or opened bundle.
        cache: As `choose_here`.
        trust: Whether native code in the bundle may run.
        threads: Forced, whatever the environment says.

    Raises:
        UsageError: ``EDGEKIT_THREADS`` is no number.
        EdgekitError: As `choose_here`.
    """
    forced: dict[str, Any] = {
        name: os.environ[f"EDGEKIT_{name.upper()}"] or None
        for name in ("variant", "backend", "threads")
        if f"EDGEKIT_{name.upper()}" in os.environ
    }
    if forced.get("threads"):
        if not forced["threads"].isdigit() or int(forced["threads"]) < 1:
            raise UsageError(f"EDGEKIT_THREADS={forced['threads']!r:.20} is not a number of threads", "give 1 or more")
        forced["threads"] = int(forced["threads"])
    if threads is not None:
        forced["threads"] = threads
    choice = choose_here(bundle, trust=trust, cache=cache, **forced)
    return {"variant": choice.variant, "backend": choice.backend, "threads": choice.threads}


def eligible(manifest: Manifest, *, allow_cpu: bool = False) -> tuple[Variant, ...]:
    """Variants that may run in place of the chosen one: within the contract, and not the CPU for an accelerator."""
    chosen = manifest.variant()
    unit = accelerator_of(chosen.backends)
    others = (v for v in manifest.variants if v is not chosen and v.within)
    return (chosen, *(v for v in others if allow_cpu or accelerator_of(v.backends) == unit or not unit))


def _candidates(manifest: Manifest, asked: dict[str, Any]) -> list[Candidate]:
    if asked["threads"] is not None and asked["threads"] < 1:
        raise UsageError(f"{asked['threads']} threads are too few", "give at least 1, or none to measure")
    forced = asked["variant"]
    variants = (manifest.variant(forced),) if forced else eligible(manifest, allow_cpu=_cpu_will_do(asked))
    found = []
    for variant in variants:
        for name in variant.backends:
            if asked["backend"] in (None, name):
                found += [Candidate(variant.name, name, threads) for threads in _threads(name, asked["threads"])]
    if not found:
        backend(asked["backend"])  # a mistyped one is said as such
        raise UsageError(
            f"back end {asked['backend']!r} opens none of {', '.join(v.name for v in variants)}",
            f"they run on {', '.join(dict.fromkeys(b for v in variants for b in v.backends))}",
        )
    return found


def _cpu_will_do(asked: dict[str, Any]) -> bool:
    """Who names a back end of the CPU has asked for it."""
    return asked["allow_cpu"] or bool(asked["backend"] and not accelerator_of([asked["backend"]]))


def _threads(name: str, forced: Optional[int]) -> Sequence[Optional[int]]:
    known = backend(name) if name in backend_names() else None
    if known is None or known.native or known.accelerator:
        return (None,)
    return (forced,) if forced else tuple(t for t in _THREADS if t <= cores()) or (1,)


def _place(bundle: Bundle, cache: Union[str, os.PathLike[str], None], asked: dict[str, Any]) -> Path:
    names = sorted({name for v in bundle.manifest.variants for name in v.backends} & set(backend_names()))
    versions = {name: backend(name).version() for name in names}
    key = key_of(bundle.digest, __version__, versions, device(), sorted(asked.items()))
    return cache_folder(cache) / "choices" / f"{key}.json"


def _known(place: Path) -> Optional[Choice]:
    found = recall(place)
    if found is None:
        return None
    try:
        return dataclasses.replace(decode(Choice, found, "choice"), remembered=True)
    except PlainDataError:
        return None


class _Contest:
    """Golden samples first, then rounds of timing."""

    def __init__(self, bundle: Bundle, trust: bool, seconds: float, clock: Callable[[], float]) -> None:
        self.bundle, self.trust, self.seconds, self.clock = bundle, trust, seconds, clock
        self.raws = [decode_raw(s.raw, bundle.read(s.raw)) for s in bundle.manifest.golden.samples]
        if not self.raws:
            raise BundleError("the bundle has no golden samples to choose with", "export it again")

    def run(self, candidates: list[Candidate]) -> Choice:
        failures: dict[tuple[str, str], EdgekitError] = {}
        for pair in dict.fromkeys((c.variant, c.backend) for c in candidates):
            try:
                selftest(self.bundle, variant=pair[0], backend=pair[1], trust=self.trust).require()
            except EdgekitError as error:
                failures[pair] = error
        racing = [c for c in candidates if (c.variant, c.backend) not in failures]
        if not racing:
            # what can be installed is the better advice
            raise next(
                (e for e in failures.values() if isinstance(e, MissingRequirement)), next(iter(failures.values()))
            )
        taken: dict[Candidate, list[float]] = {c: [] for c in racing}
        for _ in range(ROUNDS):
            for candidate in racing:
                taken[candidate] += self._time(candidate, self.seconds / ROUNDS / len(racing))
        medians = {c: float(np.median(times)) * 1e3 for c, times in taken.items()}
        best = min(medians.values())
        winner = next(c for c in racing if medians[c] <= best * (1 + EQUAL))
        table = tuple(
            dataclasses.replace(c, p50_ms=medians[c])
            if c in medians
            else dataclasses.replace(c, reason=str(failures[c.variant, c.backend]))
            for c in candidates
        )
        return Choice(winner.variant, winner.backend, winner.threads, medians[winner], table, device())

    def _time(self, candidate: Candidate, seconds: float) -> list[float]:
        with Runtime.open(
            self.bundle,
            variant=candidate.variant,
            backend=candidate.backend,
            threads=candidate.threads,
            trust=self.trust,
        ) as runtime:
            prepared = [runtime.preprocess(raw) for raw in self.raws]
            for feeds in (prepared * _WARM)[:_WARM]:
                runtime.run(feeds)
            taken: list[float] = []
            end = self.clock() + seconds
            while len(taken) < LEAST or self.clock() < end:
                feeds = prepared[len(taken) % len(prepared)]
                begin = self.clock()
                runtime.run(feeds)
                taken.append(self.clock() - begin)
            return taken
