"""Latency of a bundle's variants on this machine, kept in the sidecar, never in the bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit_runtime import Bundle
from edgekit_runtime.benchmark import benchmark, store

_SECONDS = 0.2
"""Enough for the table of an export (hundreds of inferences of a small model, never fewer than 20)."""


@dataclass(frozen=True)
class Speed:
    """How fast the variants of a bundle run here.

    Attributes:
        medians: Variant name to median milliseconds of one inference, without pre-processing.
        machine: What measured, in words.
    """

    medians: dict[str, float]
    machine: str


def measure(path: Path) -> Speed:
    """Time each variant in the bundle; the figures are also appended to the sidecar beside it."""
    with Bundle.open(path) as bundle:
        names = [v.name for v in bundle.manifest.variants]
    medians, machine = {}, ""
    for name in names:
        result = benchmark(path, variant=name, seconds=_SECONDS, trust=True)  # it was made here a moment ago
        store(path, result)
        medians[name], machine = result.p50_ms, result.measured_on
    return Speed(medians, machine)
