"""What a server says at one moment, and what two such moments say about the time between them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Optional
from urllib.parse import quote

from edgekit_runtime.monitor.prometheus import Family
from edgekit_runtime.top.link import Link, Unreachable
from edgekit_runtime.top.scrape import parse

Buckets = tuple[tuple[float, float], ...]
_QUANTILES = (("p50_ms", 0.5), ("p90_ms", 0.9), ("p99_ms", 0.99))
_DEVICE = (
    "cpu_busy_ratio",
    "gpu_busy_ratio",
    "load1",
    "uptime_seconds",
    "memory_bytes",
    "memory_available_bytes",
    "disk_bytes",
    "disk_free_bytes",
)


@dataclass(frozen=True)
class Counted:
    """Counters of one model since its server started.

    Attributes:
        requests: Inference requests.
        errors: Those that got no answer.
        buckets: Upper bound in seconds and requests that took at most so long.
        waits: Requests that left the queue.
        waited: Seconds that they were in it, together.
    """

    requests: float = 0.0
    errors: float = 0.0
    buckets: Buckets = ()
    waits: float = 0.0
    waited: float = 0.0

    def since(self, before: Counted) -> Counted:
        """What was counted after `before`; all of it where the server has started anew meanwhile."""
        older = dict(before.buckets)
        found = Counted(
            self.requests - before.requests,
            self.errors - before.errors,
            tuple((bound, count - older.get(bound, 0.0)) for bound, count in self.buckets),
            self.waits - before.waits,
            self.waited - before.waited,
        )
        negative = min((found.requests, found.errors, found.waits, *(c for _, c in found.buckets))) < 0
        return self if negative else found


@dataclass(frozen=True)
class Model:
    """One model.

    Attributes:
        name: Its name.
        state: READY, LOADING or UNAVAILABLE.
        reason: Why it is not ready, or how it is degraded; else empty.
        running: Variant and back end.
        digest: Of the bundle that runs.
        counted: Its counters.
        drifted: What is over its limit, in words.
        accuracy: Estimated from confidences, 0 to 1; None where the bundle has no table for it.
    """

    name: str
    state: str
    reason: str = ""
    running: str = ""
    digest: str = ""
    counted: Counted = Counted()
    drifted: tuple[str, ...] = ()
    accuracy: Optional[float] = None


@dataclass(frozen=True)
class Reading:
    """A server at one moment.

    Attributes:
        at: Monotonic seconds.
        version: Of its runtime.
        ready: Whether every model is.
        models: Each of them.
        device: Gauges of the board that could be read, by name without ``edgekit_device_``.
        temperatures: Zone to degrees Celsius.
        throttling: Flags that are set.
    """

    at: float
    version: str
    ready: bool
    models: tuple[Model, ...]
    device: Mapping[str, float] = field(default_factory=dict)
    temperatures: Mapping[str, float] = field(default_factory=dict)
    throttling: tuple[str, ...] = ()


def read(link: Link) -> Reading:
    """Ask a server for everything.

    Raises:
        Unreachable: It does not answer, or not as this runtime's servers do.
        ScrapeError: Its metrics are not Prometheus' text format.
    """
    server = link.json("GET", "/v2")
    health = link.json("GET", "/v2/health/ready", also=(503,))
    entries = link.json("POST", "/v2/repository/index")
    statistics = link.json("GET", "/v2/models/stats")
    families = parse(link.text("GET", "/metrics"))
    try:
        waits = {s["name"]: s["inference_stats"]["queue"] for s in statistics["model_stats"]}
        degraded = {**health.get("reasons", {}), **health.get("degraded", {})}
        models = tuple(_model(link, e, degraded, waits.get(e["name"], {}), families) for e in entries)
        version, ready = str(server.get("version", "?")), health.get("ready") is True
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise Unreachable(f"{link.name} answers otherwise than edgekit-runtime's servers do ({error!r:.80})") from error
    device = {n: v[0][1] for n in _DEVICE if (v := _samples(families, f"edgekit_device_{n}"))}
    temperatures = {w.get("zone", "?"): v for w, v in _samples(families, "edgekit_device_temperature_celsius")}
    flags = tuple(w.get("flag", "?") for w, v in _samples(families, "edgekit_device_throttling") if v)
    return Reading(time.monotonic(), version, ready, models, device, temperatures, flags)


def _model(
    link: Link,
    entry: Mapping[str, Any],
    degraded: Mapping[str, str],
    waits: Mapping[str, Any],
    families: Mapping[str, Family],
) -> Model:
    name, state = str(entry["name"]), str(entry["state"])
    running = digest = ""
    try:  # a model that never loaded has no metadata
        said = link.json("GET", f"/v2/models/{quote(name, safe='')}")["parameters"]
        running, digest = str(said.get("running", "")), str(said.get("digest", ""))
    except (Unreachable, KeyError, TypeError):
        pass
    ours = {"model": name}
    runs = {**ours, "digest": digest[:16]}
    reason = degraded.get(name) or str(entry.get("reason", ""))
    if not reason and any(v for _, v in _samples(families, "edgekit_degraded", ours)):
        reason = "degraded"
    buckets = sorted((float(w["le"]), v) for w, v in _samples(families, "edgekit_request_seconds", ours, "_bucket"))
    counted = Counted(
        sum(v for _, v in _samples(families, "edgekit_requests_total", ours)),
        sum(v for _, v in _samples(families, "edgekit_request_errors_total", ours)),
        tuple(buckets),
        float(waits.get("count", 0)),
        float(waits.get("ns", 0)) / 1e9,
    )
    accuracy = next((v for _, v in _samples(families, "edgekit_estimated_accuracy", runs)), None)
    return Model(name, state, reason, running, digest, counted, _drifted(families, runs), accuracy)


def _drifted(families: Mapping[str, Family], runs: Mapping[str, str]) -> tuple[str, ...]:
    def key(labels: Mapping[str, str]) -> tuple[str, str, str]:
        return labels.get("side", ""), labels.get("feature", ""), labels.get("statistic", "")

    limits = {key(w): v for w, v in _samples(families, "edgekit_drift_limit", runs)}
    return tuple(
        f"{' '.join(filter(None, key(w)))} {v:.2g} over {limits[key(w)]:.2g}"
        for w, v in _samples(families, "edgekit_drift", runs)
        if v > limits.get(key(w), math.inf)
    )


def _samples(
    families: Mapping[str, Family], name: str, labels: Optional[Mapping[str, str]] = None, suffix: str = ""
) -> list[tuple[Mapping[str, str], float]]:
    family = families.get(name)
    if family is None:
        return []
    wanted = (labels or {}).items()
    return [(w, v) for s, w, v in family.samples if s == suffix and wanted <= w.items()]


def quantile(buckets: Buckets, share: float) -> Optional[float]:
    """Seconds that `share` of the requests took at most, interpolated in their bucket as Prometheus does.

    Infinity where it is beyond the last finite bound, None without requests.
    """
    if not buckets or buckets[-1][1] <= 0:
        return None
    wanted, low, below = share * buckets[-1][1], 0.0, 0.0
    for bound, count in buckets:
        if count >= wanted and count > below:
            return bound if math.isinf(bound) else low + (bound - low) * (wanted - below) / (count - below)
        low, below = bound, max(below, count)
    return math.inf


@dataclass(frozen=True)
class Row:
    """One model over a span of time; what is not known is None.

    Attributes:
        model: The model.
        rate: Requests a second.
        error_rate: Of them, those without an answer.
        p50_ms: Time of a request; so `p90_ms` and `p99_ms`.
        wait_ms: Mean time in the queue.
        recent: Whether times are of the span; they are since the server's start where nobody asked within it.
    """

    model: Model
    rate: Optional[float]
    error_rate: Optional[float]
    p50_ms: Optional[float]
    p90_ms: Optional[float]
    p99_ms: Optional[float]
    wait_ms: Optional[float]
    recent: bool

    def to_plain(self) -> dict[str, Any]:
        """JSON data; a time beyond the last bucket is null with ``beyond_last_bucket``."""
        said = asdict(self.model)
        counted = said.pop("counted")
        times = {n: getattr(self, n) for n, _ in _QUANTILES}
        return {
            **said,
            "requests": counted["requests"],
            "errors": counted["errors"],
            "requests_per_second": self.rate,
            "errors_per_second": self.error_rate,
            **{n: None if t is not None and math.isinf(t) else t for n, t in times.items()},
            "beyond_last_bucket": [n for n, t in times.items() if t is not None and math.isinf(t)],
            "queue_ms": self.wait_ms,
            "times_are": "recent" if self.recent else "since start",
        }


def rows(readings: Sequence[Reading]) -> list[Row]:
    """Every model of the last reading, over the time since the first."""
    now, before = readings[-1], {m.name: m.counted for m in readings[0].models}
    span = now.at - readings[0].at
    found = []
    for model in now.models:
        part = model.counted.since(before[model.name]) if model.name in before and span > 0 else None
        recent = part is not None and part.requests > 0
        timed = part if part is not None and recent else model.counted
        p50, p90, p99 = (_milliseconds(quantile(timed.buckets, share)) for _, share in _QUANTILES)
        found.append(
            Row(
                model,
                None if part is None else part.requests / span,
                None if part is None else part.errors / span,
                p50,
                p90,
                p99,
                None if timed.waits <= 0 else timed.waited / timed.waits * 1000,
                recent,
            )
        )
    return found


def _milliseconds(seconds: Optional[float]) -> Optional[float]:
    return None if seconds is None else seconds * 1000
