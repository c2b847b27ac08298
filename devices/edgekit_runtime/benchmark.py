"""How fast a bundle runs here, after a warm-up; kept in a sidecar beside the bundle, never inside."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional, Union

import numpy as np

from edgekit_runtime.atomic import replacing
from edgekit_runtime.bundle import Bundle
from edgekit_runtime.errors import BundleError
from edgekit_runtime.runtime import Runtime
from edgekit_runtime.samples import decode_raw


@dataclass(frozen=True)
class Benchmark:
    """Latencies of single inferences on one machine.

    Attributes:
        digest: Digest of the bundle.
        variant: Variant that ran.
        backend: Back end and version.
        iterations: Timed inferences.
        p50_ms: Median of one inference from prepared tensors, in milliseconds.
        p90_ms: 90th percentile.
        p99_ms: 99th percentile.
        whole_p50_ms: Median from the raw sample to the answer.
        load_ms: Opening the bundle and the interpreter.
        rss_mib: Peak resident memory of this process, None where the system does not tell.
        threads: Threads asked for, None for the interpreter's own choice.
        measured_on: Machine, system and Python.
    """

    digest: str
    variant: str
    backend: str
    iterations: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    whole_p50_ms: float
    load_ms: float
    rss_mib: Optional[float]
    threads: Optional[int]
    measured_on: str


def benchmark(
    path: Union[str, os.PathLike[str]],
    *,
    variant: Optional[str] = None,
    backend: Optional[str] = None,
    threads: Optional[int] = None,
    trust: bool = False,
    seconds: float = 1.0,
    clock: Callable[[], float] = time.perf_counter,
) -> Benchmark:
    """Time a bundle's variant on its golden samples.

    Args:
        path: The bundle.
        variant: The variant; the chosen one by default.
        backend: The back end; the first installed one by default.
        threads: Threads for one inference.
        trust: Whether native code in the bundle may run.
        seconds: How long to time (at least 20 inferences, at most 10,000).
        clock: Seconds, monotonic.

    Raises:
        BundleError: The bundle has no golden samples to run.
    """
    started = clock()
    with Bundle.open(path) as bundle:
        runtime = Runtime.open(bundle, variant=variant, backend=backend, threads=threads, trust=trust)
        load = clock() - started
        raws = [decode_raw(s.raw, bundle.read(s.raw)) for s in bundle.manifest.golden.samples]
        digest = bundle.digest
    if not raws:
        raise BundleError("the bundle has no golden samples to time", "export it again")
    with runtime:
        prepared = []
        for raw in raws:
            value = runtime.specification.preprocess(raw, runtime.context())
            named = value if isinstance(value, dict) else {runtime.manifest.inputs[0].name: np.asarray(value)}
            prepared.append({n: v[None] for n, v in named.items()})
        inference = _time(runtime.run, prepared, seconds, clock)
        whole = _time(runtime, raws, seconds / 2, clock)
        percentiles = np.percentile(inference, [50, 90, 99]) * 1e3
        return Benchmark(
            digest=digest,
            variant=runtime.variant.name,
            backend=f"{runtime.backend.name} {runtime.backend.version()}",
            iterations=len(inference),
            p50_ms=float(percentiles[0]),
            p90_ms=float(percentiles[1]),
            p99_ms=float(percentiles[2]),
            whole_p50_ms=float(np.median(whole) * 1e3),
            load_ms=load * 1e3,
            rss_mib=_peak_rss(),
            threads=threads,
            measured_on=f"{platform.machine()}, {platform.system()} {platform.release()}, "
            f"Python {platform.python_version()}",
        )


def _time(call: Callable[[Any], Any], items: list[Any], seconds: float, clock: Callable[[], float]) -> list[float]:
    for item in items[:4]:
        call(item)
    taken: list[float] = []
    end = clock() + seconds
    while len(taken) < 20 or (clock() < end and len(taken) < 10_000):
        item = items[len(taken) % len(items)]
        begin = clock()
        call(item)
        taken.append(clock() - begin)
    return taken


def _peak_rss() -> Optional[float]:
    try:
        import resource
    except ImportError:  # not on every system
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def sidecar_path(path: Union[str, os.PathLike[str]]) -> Path:
    """Where a bundle's latencies are kept."""
    return Path(f"{os.fspath(path)}.latency.json")


def store(path: Union[str, os.PathLike[str]], result: Benchmark) -> Path:
    """Append a result to the sidecar of a bundle, atomically; figures of other digests are dropped.

    Returns:
        The sidecar.
    """
    sidecar = sidecar_path(path)
    kept: list[Any] = []
    try:
        old = json.loads(sidecar.read_text("utf-8"))
        if isinstance(old, dict) and old.get("digest") == result.digest and isinstance(old.get("results"), list):
            kept = old["results"]
    except (OSError, ValueError):
        pass  # none yet, or not ours: start anew
    document = {"digest": result.digest, "results": [*kept, dataclasses.asdict(result)]}
    with replacing(sidecar) as out:
        out.write(json.dumps(document, indent=2).encode())
    return sidecar
