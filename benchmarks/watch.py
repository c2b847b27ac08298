"""What `watch` does under a source that is faster than the model: lag and memory, dropping against queueing.

python benchmarks/watch.py [SECONDS]
"""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

import numpy as np

from edgekit_runtime.capture.pipeline import Pipeline
from edgekit_runtime.capture.plan import ModelSettings, Plan, WatchSettings
from edgekit_runtime.capture.sinks import About
from edgekit_runtime.capture.sources import Sample, Source
from edgekit_runtime.capture.sources.base import Taker
from edgekit_runtime.monitor.histogram import Histogram

RATE, INFERENCE = 100.0, 0.025  # pictures a second; seconds, so that the model can do 40 of them


class Steady(Taker):
    """640 x 480 pictures at a fixed rate."""

    def __init__(self) -> None:
        self.next = time.monotonic()

    def read(self) -> Sample:
        self.next += 1 / RATE
        time.sleep(max(0.0, self.next - time.monotonic()))
        return Sample(np.zeros((480, 640, 3), np.uint8) + 1)


@dataclass(frozen=True)
class Fast(Source):
    def open(self) -> Taker:
        return Steady()


def model(_picture: np.ndarray) -> float:
    time.sleep(INFERENCE)
    return 1.0


def resident() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def dropping(seconds: float) -> tuple[Histogram, int, float]:
    plan = Plan(ModelSettings("m"), Fast(), "fast", WatchSettings(), ())
    pipeline = Pipeline(plan, model, About("m", "d", "r"), [], print)
    before = resident()
    grown = 0.0

    def end() -> None:
        nonlocal grown
        grown = resident() - before
        pipeline.stop()

    threading.Timer(seconds, end).start()
    counts = pipeline.run()
    return counts.lag, counts.dropped, grown


def queueing(seconds: float) -> tuple[Histogram, int, float]:
    """The loop that tutorials show: a thread puts every picture into a queue."""
    taker, waiting, lag = Steady(), Queue[Sample](), Histogram()
    before, limit = resident(), time.monotonic() + seconds

    def take() -> None:
        while time.monotonic() < limit:
            waiting.put(taker.read())

    threading.Thread(target=take, daemon=True).start()
    while time.monotonic() < limit:
        sample = waiting.get()
        model(sample.raw)
        lag.add(time.monotonic() - sample.taken)
    return lag, 0, resident() - before


def main(seconds: float) -> None:
    print(f"{RATE:g} pictures of 640 x 480 a second, {1000 * INFERENCE:g} ms an inference, {seconds:g} s each")
    for name, run in (("newest only", dropping), ("a queue", queueing)):
        lag, dropped, grown = run(seconds)
        p50, p99 = 1000 * lag.percentile(0.5), 1000 * lag.percentile(0.99)
        print(f"{name:<12} {lag.count} answers, {dropped} dropped, lag p50 {p50:.0f} ms, p99 {p99:.0f} ms, "
              f"{grown:+.0f} MiB")  # fmt: skip


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0)
