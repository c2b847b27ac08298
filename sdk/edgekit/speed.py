"""Latency of a bundle's variants on this machine, kept in the sidecar, never in the bundle."""

from __future__ import annotations

from pathlib import Path

from edgekit_runtime import Bundle
from edgekit_runtime.benchmark import benchmark, store


def measure(path: Path) -> dict[str, float]:
    """Median milliseconds of one inference, without pre-processing, for each variant in the bundle.

    The figures are also appended to the sidecar beside the bundle.
    """
    with Bundle.open(path) as bundle:
        names = [v.name for v in bundle.manifest.variants]
    medians = {}
    for name in names:
        result = benchmark(path, variant=name)
        store(path, result)
        medians[name] = result.p50_ms
    return medians
