"""Latency of a bundle's variants on this machine, kept in the sidecar, never in the bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit.compiling import workstation_backend
from edgekit_runtime import Bundle
from edgekit_runtime.backends import accelerator_of
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
    """Time each variant in the bundle that runs on a CPU; the figures are also appended to the sidecar beside it."""
    with Bundle.open(path) as bundle:
        names = {v.name: v.backends for v in bundle.manifest.variants if not accelerator_of(v.backends)}
    medians, machine = {}, ""
    for name, backends in names.items():
        backend = workstation_backend(backends).name
        # it was made here a moment ago, so that it is trusted
        result = benchmark(path, variant=name, backend=backend, seconds=_SECONDS, trust=True)
        store(path, result)
        medians[name], machine = result.p50_ms, result.measured_on
    return Speed(medians, machine)
