"""How fast a bundle runs here, after a warm-up; kept in a sidecar beside the bundle, never inside."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional, Union

import numpy as np

from edgekit_runtime.atomic import replacing
from edgekit_runtime.backends.base import check_threads
from edgekit_runtime.bundle import Bundle
from edgekit_runtime.emulation import emulator
from edgekit_runtime.errors import BundleError, UsageError
from edgekit_runtime.monitor.clocks import Conditions, conditions, throttled
from edgekit_runtime.monitor.energy import Meter, sensor
from edgekit_runtime.runtime import Runtime
from edgekit_runtime.samples import decode_raw
from edgekit_runtime.timing import fastest, time_calls, warm_up

AUTO_THREADS = (1, 2, 4)
_IDLE_SECONDS = 0.5


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
        threads: Threads of one inference, None for the interpreter's own choice.
        measured_on: Machine, system and Python.
        host: The board as it was named where it was measured from afar; empty where it is this machine.
        threads_ms: Threads to the median by which they were chosen; empty where they were not.
        warm_up_seconds: How long the warm-up took.
        steady: Whether times had settled by then.
        conditions: Clock, temperature, throttling ``before``, ``during`` and ``after``.
        throttled: What held the clock back, in words; empty for nothing that could be seen.
        energy_sensor: What measured power; empty where nothing does.
        watts: Mean power while inferences ran.
        idle_watts: Mean power just before.
        millijoules: Energy of one inference: mean power over inferences a second, idle included.
        measured_at: UTC, ISO 8601.
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
    host: str = ""
    threads_ms: Mapping[str, float] = field(default_factory=dict)
    warm_up_seconds: float = 0.0
    steady: bool = True
    conditions: Mapping[str, Conditions] = field(default_factory=dict)
    throttled: str = ""
    energy_sensor: str = ""
    watts: Optional[float] = None
    idle_watts: Optional[float] = None
    millijoules: Optional[float] = None
    measured_at: str = ""


def benchmark(
    path: Union[str, os.PathLike[str]],
    *,
    variant: Optional[str] = None,
    backend: Optional[str] = None,
    threads: Union[int, str, None] = None,
    trust: bool = False,
    seconds: float = 1.0,
    warm_up_limit: Optional[float] = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Benchmark:
    """Time a bundle's variant on its golden samples.

    Args:
        path: The bundle.
        variant: The variant; the chosen one by default.
        backend: The back end; the first installed one by default.
        threads: Threads for one inference; ``auto`` for the fastest of 1, 2 and 4 by measurement.
        trust: Whether native code in the bundle may run.
        seconds: How long to time (at least 20 inferences, at most 10,000).
        warm_up_limit: Seconds that times may take to settle before that; as long as `seconds` by default.
        clock: Seconds, monotonic.

    Raises:
        BundleError: The bundle has no golden samples to run.
        UsageError: This process is emulated, and its times would mislead; or settings that make no sense.
    """
    if foreign := emulator():
        raise UsageError(f"{foreign} emulates this processor, and its times say nothing", "measure on the board itself")
    if isinstance(threads, str) and threads != "auto":
        raise UsageError(f"threads {threads!r:.20} are neither a number nor auto")
    check_threads(threads if isinstance(threads, int) else None)
    started = clock()
    with ExitStack() as open_models:
        with Bundle.open(path) as bundle:
            counts = _candidates(threads)
            models: dict[Optional[int], Runtime] = {}
            for count in counts:
                models[count] = open_models.enter_context(
                    Runtime.open(bundle, variant=variant, backend=backend, threads=count, trust=trust)
                )
                if len(models) == 1:
                    load = clock() - started
            raws = [decode_raw(s.raw, bundle.read(s.raw)) for s in bundle.manifest.golden.samples]
            digest = bundle.digest
        if not raws:
            raise BundleError("the bundle has no golden samples to time", "export it again")
        runtime = models[counts[0]]
        prepared = []
        for raw in raws:
            value = runtime.specification.preprocess(raw, runtime.context())
            named = value if isinstance(value, dict) else {runtime.manifest.inputs[0].name: np.asarray(value)}
            prepared.append({n: v[None] for n, v in named.items()})
        record = {"before": conditions()}
        tried: dict[int, float] = {}
        if len(models) > 1:
            calls = {n: m.run for n, m in models.items() if n is not None}
            tried = fastest(calls, prepared, seconds, clock)
            counts = (next(iter(tried)),)
            runtime = models[counts[0]]
            for count, model in models.items():
                if count != counts[0]:
                    model.close()
        warm = warm_up(runtime.run, prepared, seconds if warm_up_limit is None else warm_up_limit, clock)
        inference = time_calls(
            runtime.run, prepared, seconds, clock, lambda: record.__setitem__("during", conditions())
        )
        record["after"] = conditions()
        whole = time_calls(runtime, raws, seconds / 2, clock)
        energy = _energy(runtime.run, prepared, seconds, clock)
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
            threads=counts[0],
            measured_on=_machine(),
            threads_ms={str(n): tried[n] * 1e3 for n in sorted(tried)},
            warm_up_seconds=warm.seconds,
            steady=warm.steady,
            conditions=record,
            throttled=throttled(record),
            measured_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **energy,
        )


def _candidates(threads: Union[int, str, None]) -> tuple[Optional[int], ...]:
    if not isinstance(threads, str):
        return (threads,)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return tuple(n for n in AUTO_THREADS if n <= cores)


def _energy(run: Callable[[Any], Any], items: list[Any], seconds: float, clock: Callable[[], float]) -> dict[str, Any]:
    """Power with and without inferences, timed apart from the latencies, which the readings would disturb."""
    source = sensor()
    if source is None:
        return {}
    with Meter(source) as idle:
        time.sleep(_IDLE_SECONDS)
    begin = clock()
    with Meter(source) as busy:
        count = len(time_calls(run, items, max(seconds, 4 * source.period), clock))
    if busy.watts is None:
        return {}
    return {
        "energy_sensor": source.name,
        "watts": busy.watts,
        "idle_watts": idle.watts,
        "millijoules": busy.watts * (clock() - begin) / count * 1e3,
    }


def _machine() -> str:
    try:
        board = Path("/proc/device-tree/model").read_text("utf-8", "replace").strip("\0 \n")
    except OSError:
        board = ""
    named = [board] if board else []
    system = f"{platform.system()} {platform.release()}"
    return ", ".join([*named, platform.machine(), system, f"Python {platform.python_version()}"])


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
    document = {
        "digest": result.digest,
        "results": [*kept_results(path, result.digest), dataclasses.asdict(result)],
    }
    with replacing(sidecar) as out:
        out.write(json.dumps(document, indent=2).encode())
    return sidecar


def kept_results(path: Union[str, os.PathLike[str]], digest: str) -> list[dict[str, Any]]:
    """What the sidecar has about this digest, oldest first; of every machine that it was measured on."""
    try:
        old = json.loads(sidecar_path(path).read_text("utf-8"))
    except (OSError, ValueError):
        return []  # none yet, or not ours
    if not isinstance(old, dict) or old.get("digest") != digest or not isinstance(old.get("results"), list):
        return []
    return [r for r in old["results"] if isinstance(r, dict)]


def in_words(result: Benchmark) -> list[str]:
    """A result as lines for people; says what could not be measured."""
    threads = f", {result.threads} thread{'s' if result.threads != 1 else ''}" if result.threads else ""
    lines = [
        f"{result.variant} on {result.backend}{threads}: p50 {result.p50_ms:.3f} ms, p90 {result.p90_ms:.3f}, "
        f"p99 {result.p99_ms:.3f} ({result.iterations} inferences); raw sample to answer p50 "
        f"{result.whole_p50_ms:.3f} ms",
        f"measured on {result.measured_on}",
    ]
    if result.threads_ms:
        tried = ", ".join(f"{n}: {ms:.3f} ms" for n, ms in result.threads_ms.items())
        lines.append(f"threads by measurement: {tried}")
    memory = f"memory at most {result.rss_mib:.0f} MiB" if result.rss_mib is not None else "memory not told"
    settled = "" if result.steady else ", and times had not settled"
    lines.append(f"{memory}; opened in {result.load_ms:.0f} ms; warm-up {result.warm_up_seconds:.1f} s{settled}")
    clocks = [
        f"{moment} {f'{c.mhz:.0f} MHz' if c.mhz else 'clock not told'}"
        + (f" {c.celsius:.0f} °C" if c.celsius is not None else "")
        for moment, c in result.conditions.items()
    ]
    lines.append(f"{', '.join(clocks)}; held back: {result.throttled or 'by nothing that could be read'}")
    if result.watts is not None and result.millijoules is not None:
        idle = f" ({result.idle_watts:.2f} W idle)" if result.idle_watts is not None else ""
        lines.append(
            f"energy {result.millijoules:.2f} mJ an inference, {result.watts:.2f} W{idle}, by {result.energy_sensor}"
        )
    else:
        lines.append("energy: no sensor here that can be read")
    return lines
