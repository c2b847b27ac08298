"""What the server counts of requests, and its text form for Prometheus."""

from __future__ import annotations

import platform
import threading
from bisect import bisect_left

from edgekit_runtime import __version__

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the latency histogram, in seconds."""


class Counters:
    """Requests, errors and a latency histogram per model."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, int], int] = {}
        self._buckets: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}

    def record(self, model: str, status: int, seconds: float) -> None:
        """Count one request."""
        with self._lock:
            self._requests[model, status] = self._requests.get((model, status), 0) + 1
            self._buckets.setdefault(model, [0] * (len(BUCKETS) + 1))[bisect_left(BUCKETS, seconds)] += 1
            self._seconds[model] = self._seconds.get(model, 0.0) + seconds

    def text(self) -> str:
        """Everything, in Prometheus' text format 0.0.4."""
        with self._lock:
            requests, seconds = dict(self._requests), dict(self._seconds)
            buckets = {m: list(b) for m, b in self._buckets.items()}
        lines = [
            *_head("edgekit_build_info", "gauge", "Version of the runtime."),
            f'edgekit_build_info{{version="{__version__}",python="{platform.python_version()}"}} 1',
            *_head("edgekit_requests_total", "counter", "Inference requests by HTTP status; 499: the client went."),
        ]
        lines += [
            f'edgekit_requests_total{{model="{_escaped(m)}",status="{s}"}} {n}'
            for (m, s), n in sorted(requests.items())
        ]
        lines += _head("edgekit_request_errors_total", "counter", "Inference requests that got no answer.")
        for model in sorted(buckets):
            bad = sum(n for (m, s), n in requests.items() if m == model and s != 200)
            lines.append(f'edgekit_request_errors_total{{model="{_escaped(model)}"}} {bad}')
        lines += _head("edgekit_request_seconds", "histogram", "Time from the request's last byte to its answer.")
        for model, counts in sorted(buckets.items()):
            name, below = _escaped(model), 0
            for bound, count in zip((*BUCKETS, "+Inf"), counts):
                below += count
                lines.append(f'edgekit_request_seconds_bucket{{model="{name}",le="{bound}"}} {below}')
            lines.append(f'edgekit_request_seconds_sum{{model="{name}"}} {seconds[model]:.9g}')
            lines.append(f'edgekit_request_seconds_count{{model="{name}"}} {below}')
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, words: str) -> list[str]:
    return [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
