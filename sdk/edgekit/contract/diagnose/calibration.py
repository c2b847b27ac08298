"""Quantization calibration on samples that do not look like what the model meets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from edgekit.contract.diagnose.case import Case
from edgekit.contract.diagnose.finding import Finding, Fix, short_name
from edgekit_runtime.manifest import DataInfo

_NAMED = 6  # classes in a sentence
_BEYOND = 0.01  # share of a layer's values on evaluation samples that is worth telling


def find(case: Case) -> Iterator[Finding]:
    """Hold what the manifest says of the calibration samples against the data, and calibrate anew."""
    used = case.info("calibration")
    if not case.variant.recipe or used is None:
        return
    material = case.bench.material
    fresh = material.info("calibration")
    same = fresh is not None and fresh.sha256 == used.sha256
    missing, counts = _missing(used, material.labels)
    if same and not missing:
        return
    evidence: dict[str, Any] = {"samples": used.samples, "origin": used.origin, "missing": missing}
    if counts:
        evidence["classes"] = counts
    evidence["fresh_samples"] = fresh.samples if fresh else 0
    cut = sorted((one for one in case.layers if one.saturated > _BEYOND), key=lambda one: -one.saturated)
    evidence["beyond_range"] = [{"layer": one.name, "share": round(one.saturated, 4)} for one in cut[:_NAMED]]
    if missing and len(missing) < len(material.labels):
        covered = len(material.labels) - len(missing)
        subject = f"{covered} of {len(material.labels)} classes"
        says = (
            f"the ranges come from {used.samples} samples of {covered} of {len(material.labels)} classes; "
            f"{_listed(missing)} {'was' if len(missing) == 1 else 'were'} never seen"
        )
    else:
        subject = f"{used.samples} samples"
        says = f"the ranges come from {used.samples} samples ({used.origin}) that are not those of the training split"
    if cut:
        says += f"; {cut[0].saturated:.1%} of the values of {short_name(cut[0].name)!r} are beyond them"
    if same:
        advice = "leave --calibration-data out" if case.plan.calibration_data else "give --calibration-data with all"
        yield Finding("calibration", subject, f"{says}; the samples given here are the same: {advice}", evidence)
        return
    fix = Fix("calibrate on all classes", recalibrate=True)
    if case.fresh:  # made anew already, for another culprit
        yield Finding("calibration", subject, f"{says}; they were found anew with the rest", evidence, fix=fix)
        return
    yield case.judged(Finding("calibration", subject, says, evidence), fix)


def _missing(used: DataInfo, labels: Sequence[str]) -> tuple[list[str], dict[str, int]]:
    """(classes without a sample, samples by class); nothing where the samples had no labels of these."""
    counts = {name: n for name, n in used.classes.items() if name in labels}
    if not counts:
        return [], {}
    return [name for name in labels if not counts.get(name)], counts


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return f"{shown} and {len(names) - _NAMED} more" if len(names) > _NAMED else shown
