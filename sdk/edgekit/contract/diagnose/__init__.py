"""Why a bundle is worse than its source, and what repairs it. A kind of finding is one file and one line below."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from edgekit.contract.diagnose.finding import Diagnosis, Finding, Fix, Layer, Repair
from edgekit.contract.diagnose.plan import DiagnosePlan
from edgekit.progress import Progress
from edgekit_runtime.errors import UsageError

# In this order: what changes the model's input first, then what costs nothing, then what costs size and speed. Each
# sees the bundle with everything mended that those before it found.
FINDERS = {
    "against": "edgekit.contract.diagnose.against",
    "preprocessing": "edgekit.contract.diagnose.preprocessing",
    "calibration": "edgekit.contract.diagnose.calibration",
    "channels": "edgekit.contract.diagnose.channels",
    "ranges": "edgekit.contract.diagnose.ranges",
    "layers": "edgekit.contract.diagnose.layers",
}

__all__ = ["FINDERS", "DiagnosePlan", "Diagnosis", "Finding", "Fix", "Layer", "Repair", "diagnose"]


def diagnose(plan: DiagnosePlan, progress: Progress | None = None) -> Diagnosis:
    """Say why a bundle is worse than its source and what repairs it; repair it where `plan.apply` says so.

    A suspect becomes a finding only where its fix gives back more of the primary metric than chance would.

    Args:
        plan: What to diagnose.
        progress: Hears of every stage.

    Raises:
        UsageError: The bundle is of a kind that cannot be diagnosed, or something is missing; says what to give.
        DataError: The data cannot be used.
        BundleError: The bundle cannot be opened, or the repaired one not be written.
        ConversionError: The source cannot be brought to the target again.
    """
    for kind in plan.only:
        if kind not in FINDERS:
            raise UsageError(f"there is no kind of finding {kind!r:.40}", f"there are {', '.join(FINDERS)}")
    plan.check_free()
    if plan.data is None:
        return _held_together(plan)
    from edgekit.contract.diagnose.case import opened
    from edgekit.contract.diagnose.repair import repair

    with opened(plan, progress or Progress()) as case:
        case.look()
        seen: list[Finding] = []
        for kind, module in FINDERS.items():
            if not plan.only or kind in plan.only:
                find: Callable[..., Iterator[Finding]] = importlib.import_module(module).find
                seen += find(case)
        findings = tuple(sorted((f for f in seen if f.real), key=lambda f: -(f.explains or 0.0)))
        done = repair(case, findings) if plan.apply else None
        return Diagnosis(
            bundle=Path(plan.bundle),
            variant=f"{case.variant.name} on {case.ran}",
            metric=case.metric,
            shipped=case.value(case.shipped),
            floating=case.value(case.given),
            reachable=case.value(case.floating),
            samples=len(case.samples),
            findings=findings,
            cleared=tuple(f for f in seen if not f.real),
            layers=case.layers,
            repair=done,
        )


def _held_together(plan: DiagnosePlan) -> Diagnosis:
    """Without labelled data: two specifications on the bundle's own golden samples, nothing measured."""
    from edgekit.contract.diagnose.against import difference, read_specification, told
    from edgekit_runtime import Bundle
    from edgekit_runtime.samples import decode_raw

    assert plan.against is not None  # noqa: S101 - the plan looked
    with Bundle.open(plan.bundle) as bundle:
        manifest = bundle.manifest
        raws = [decode_raw(s.raw, bundle.read(s.raw)) for s in manifest.golden.samples]
        if not raws:
            raise UsageError(f"{plan.bundle} holds no golden samples to try both on", "give --data")
        found = told(plan.against, difference(manifest.specification, read_specification(Path(plan.against)), raws))
        found = replace(found, real=bool(found.evidence["step"]))
        return Diagnosis(
            Path(plan.bundle), manifest.chosen, "", None, None, None, len(raws),
            findings=(found,) if found.real else (), cleared=() if found.real else (found,),
        )  # fmt: skip
