"""Counting a model's calls."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any, Callable, Optional, Union

import numpy as np

from edgekit_runtime.errors import SpecificationError
from edgekit_runtime.manifest import Manifest
from edgekit_runtime.monitor.distance import Drift
from edgekit_runtime.monitor.drift import of_window
from edgekit_runtime.monitor.grid import Grid
from edgekit_runtime.monitor.watching import Watching
from edgekit_runtime.monitor.window import Window
from edgekit_runtime.runtime import Runtime
from edgekit_runtime.specification.summaries import summarize

_KEPT = 64
_LEAST = 32  # summaries in a window, if as many calls came


class Monitor:
    """Counts of one model's calls in windows of equal length. Safe to use from several threads.

    Attributes:
        manifest: The model's manifest.
        totals: Calls, errors and latencies since the monitor was made, over all windows (for `/metrics`).
        lost: Closed windows that were dropped because nobody took them.
    """

    def __init__(
        self,
        model: Union[Runtime, Manifest],
        *,
        seconds: float = 300.0,
        clock: Callable[[], float] = time.time,
        budget: float = 10e-6,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Begin the first window.

        Args:
            model: The runtime to count, or its manifest.
            seconds: Length of a window.
            clock: Seconds since 1970; tests bring their own.
            budget: Seconds that summaries of pictures and sounds, which are decoded again for it, may take of each call
                in the mean; besides, a window has 32 if as many calls came. The sketches' own counts say how many were.
            timer: What they are timed with, in seconds.

        Raises:
            ValueError: `seconds` is not over 0, or `budget` is below.
        """
        if not seconds > 0 or not budget >= 0:
            raise ValueError("a monitor needs windows longer than 0 s and a budget of 0 s or more")
        self.manifest = model.manifest if isinstance(model, Runtime) else model
        self.totals = Window.of(self.manifest, clock())
        self.lost = 0
        self._seconds, self._clock, self._timer, self._budget = seconds, clock, timer, budget
        self._kind = self.manifest.specification.kind
        steps = self.manifest.specification.input
        self._columns: tuple[str, ...] = next((tuple(s["names"]) for s in steps if s.get("step") == "columns"), ())
        self._classify = self.manifest.task == "classification"
        self._watching = Watching.of(self.manifest)
        places, size = self._watching.places, self._watching.size
        # a plain copy where every score is watched in its order, which is nearly always
        self._places = None if places == tuple(range(size or 0)) else np.array(places, np.intp)
        self._rest = np.empty(0, np.intp)
        self._lock = Lock()
        self._closed: list[Window] = []
        self._calls, self._spent, self._cost, self._next = 0, 0.0, 0.0, -math.inf
        self._begin(self.totals.begun)

    def _begin(self, now: float) -> None:
        self._window = Window.of(self.manifest, now)
        sketches = list(self._window.outputs.values())
        self._outputs = [s.add for s in sketches]
        self._grid = Grid(sketches) if len({len(s.edges) for s in sketches}) == 1 else None
        self._inputs = list(self._window.inputs.items())
        self._categories = list(self._window.categories.items())

    def count(self, seconds: float, *, raw: Any = None, scores: Any = None) -> None:
        """Count a call that gave an answer.

        Args:
            seconds: How long it took.
            raw: The raw sample, where it is at hand.
            scores: Its scores, as `Runtime.scores` gives them, where they are at hand.
        """
        summary = self._summary(raw) if raw is not None and self._inputs else None
        with self._lock:
            self._roll()
            window = self._window
            window.requests += 1
            window.latency.add(seconds)
            if summary is not None:
                for name, sketch in self._inputs:
                    if name in summary:
                        sketch.add(summary[name])
            elif raw is not None and self._kind == "table":
                self._count_row(raw)
            if scores is not None:
                self._count_scores(scores)

    def failed(self) -> None:
        """Count a call that gave no answer."""
        with self._lock:
            self._roll()
            self._window.requests += 1
            self._window.errors += 1

    def take(self, *, everything: bool = False) -> list[Window]:
        """Closed windows, oldest first, each given once; with `everything` the open one is closed first."""
        with self._lock:
            self._roll()
            if everything and self._window.requests:
                self._close(self._clock())
            taken, self._closed = self._closed, []
            return taken

    def current(self) -> tuple[Window, Window]:
        """Copies of the counts since the monitor was made, and of the open window."""
        with self._lock:
            self._roll()
            self._drain()
            empty = Window.of(self.manifest, self._window.begun)
            return self.totals.merge(self._window), self._window.merge(empty)

    def drift(self, window: Window) -> dict[str, dict[str, Drift]]:
        """``{"inputs": {name: Drift}, "outputs": …}`` of one window; names that nobody can judge are left out."""
        return of_window(window, self.manifest)

    def _summary(self, raw: Any) -> Optional[Mapping[str, float]]:
        if self._kind not in ("image", "audio"):
            return None
        self._calls += 1
        now = self._timer()
        if now < self._next and self._spent + self._cost > self._budget * self._calls:
            return {}
        try:
            return summarize(self._kind, raw)
        except SpecificationError:  # the caller may count what no runtime of ours has read
            return {}
        finally:
            self._cost = self._timer() - now
            self._spent += self._cost
            self._next = now + self._seconds / _LEAST

    def _count_row(self, raw: Any) -> None:
        row = raw if isinstance(raw, Mapping) else dict(zip(self._columns, raw))
        for name, sketch in self._inputs:
            value = row.get(name)
            if type(value) is float or type(value) is int:
                sketch.add(value)
            else:
                sketch.add_raw(value)
        for name, counts in self._categories:
            counts.add(row.get(name))

    def _count_scores(self, scores: Any) -> None:
        array = np.asarray(scores)
        window = self._window
        if array.dtype.kind not in "fiub" or not array.size:
            window.unfit += 1
            return
        flat = array.ravel()
        if not self._watching.fits(flat.size):
            window.unfit += 1
            return
        if self._grid is not None:
            self._pick(flat, self._grid.row())
        elif self._outputs:
            row = np.empty(len(self._outputs))
            self._pick(flat, row)
            for add, value in zip(self._outputs, row.tolist()):
                add(value)
        if self._classify:
            self._count_best(flat)

    def _pick(self, scores: np.ndarray, row: np.ndarray) -> None:
        """The watched scores, and the largest of the others, as the window's sketches have them."""
        if self._places is None:
            row[:] = scores
            return
        row[: len(self._places)] = scores[self._places]
        if self._watching.others:
            if self._rest.size + self._places.size != scores.size:
                self._rest = np.setdiff1d(np.arange(scores.size), self._places)
            row[-1] = scores[self._rest].max() if self._rest.size else np.nan

    def _count_best(self, scores: np.ndarray) -> None:
        labels = self.manifest.labels
        if len(scores) == 1:  # the probability of the second of two classes
            place, best = int(scores[0] > 0.5), max(float(scores[0]), 1 - float(scores[0]))
        else:
            place = int(scores.argmax())
            best = float(scores[place])
        self._window.confidence.add(best)
        if best == best and max(len(scores), 2) == len(labels):  # noqa: PLR0124 - not NaN
            self._window.classes.counts[labels[place]] += 1

    def _roll(self) -> None:
        now = self._clock()
        # a clock that was set back begins a new window too, or this one would never end
        if not 0 <= now - self._window.begun < self._seconds:
            self._close(now)

    def _drain(self) -> None:
        if self._grid is not None:
            self._grid.drain()

    def _close(self, now: float) -> None:
        self._drain()
        if self._window.requests:
            self._window.ended = max(now, self._window.begun)
            self.totals = self.totals.merge(self._window)
            self._closed.append(self._window)
            if len(self._closed) > _KEPT:
                self._closed.pop(0)
                self.lost += 1
        self._begin(now)


class Watched:
    """A runtime whose calls a monitor counts; answers and errors are the runtime's own.

    Attributes:
        runtime: The runtime.
        monitor: What counts.
    """

    def __init__(self, runtime: Runtime, monitor: Optional[Monitor] = None) -> None:
        self.runtime = runtime
        self.monitor = monitor or Monitor(runtime)

    def __call__(self, raw: Any) -> Any:
        """As `Runtime.__call__`."""
        begin = time.perf_counter()
        try:
            scores, answer = self.runtime.answer(raw)
        except BaseException:
            self.monitor.failed()
            raise
        self.monitor.count(time.perf_counter() - begin, raw=raw, scores=scores)
        return answer

    def predict_batch(self, raws: Sequence[Any]) -> list[Any]:
        """Answers for several raw samples, one after the other: each is a request of its own to the monitor."""
        return [self(raw) for raw in raws]

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """As `Runtime.run`; every sample of the batch counts as one request that took its share of the time.

        Raw samples are not at hand here, so inputs are not counted.
        """
        begin = time.perf_counter()
        try:
            outputs = self.runtime.run(feeds)
        except BaseException:
            self.monitor.failed()
            raise
        taken = time.perf_counter() - begin
        context = self.runtime.context()
        samples = len(next(iter(outputs.values()))) if all(v.ndim for v in outputs.values()) else 0
        for i in range(samples):
            scores = self.runtime.specification.scores({n: v[i] for n, v in outputs.items()}, context)
            self.monitor.count(taken / samples, scores=scores)
        return outputs
