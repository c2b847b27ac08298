"""A specification that is not the training's: told by how much better its neighbours do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgekit.contract.diagnose.case import GAIN, Case
from edgekit.contract.diagnose.finding import Finding, Fix
from edgekit.contract.diagnose.neighbours import Neighbour, neighbours
from edgekit.feeding import feeds
from edgekit_runtime.errors import EdgekitError
from edgekit_runtime.manifest import SpecificationData
from edgekit_runtime.specification import Specification

_MISTAKES = 3  # how many at once are looked for
_NORMALISATION = ("scaling", "normalisation")
_CHANNELS = (1, 3)


def find(case: Case) -> Iterator[Finding]:
    """Try every neighbour on training samples; the best is measured on the test split, and its neighbours in turn.

    A colour order that is wrong besides the scaling shows only once the scaling is right, so one at a time is mended.
    """
    raws = [s.load() for s in case.pool]
    for _ in range(_MISTAKES):
        now = case.guess(case.setting.specification)
        tried = _tried(case, raws)
        if not tried:
            return
        best, value = max(tried, key=lambda t: t[1])
        finding = _said(case, best, value - now, len(tried), raws)
        if value - now < GAIN:
            says = f"none of {len(tried)} neighbours of the specification does better on training samples"
            yield replace(finding, subject="specification", says=says, seen=())
            return
        found = case.judged(finding, Fix(f"{best.axis}: {best.after}", specification=best.specification))
        yield found
        if not found.real:
            return


def _tried(case: Case, raws: Sequence[Any]) -> list[tuple[Neighbour, float]]:
    """Neighbours that the model's input takes, that change it, and how the float model does behind each."""
    found = []
    given = case.setting.specification
    now = _first(case, given)
    everything = list(neighbours(given, raws))
    with case.bench.progress.stage("specification", f"{len(everything)} neighbours of it") as stage:
        for neighbour in stage.track(everything, len(everything)):
            try:
                if np.array_equal(_first(case, neighbour.specification), now):
                    continue  # as another way to resize pictures that have the right size already
                found.append((neighbour, case.guess(neighbour.specification)))
            except EdgekitError:  # the model's input is of another shape, or the sample cannot be prepared so
                continue
        stage.note = f"{len(found)} give the model something else"
    return found


def _first(case: Case, specification: SpecificationData) -> np.ndarray:
    some = case.pool[:4]
    made = Specification.from_data(specification, case.bench.specification.files)
    return next(iter(feeds(made, case.bench.source.inputs, some).values()))


def _said(case: Case, best: Neighbour, gain: float, count: int, raws: Sequence[Any]) -> Finding:
    given, other = _first(case, case.setting.specification), _first(case, best.specification)
    chw = case.bench.source.inputs[0].shape[-1] not in _CHANNELS
    seen = tuple(zip(_shown(given, chw), _shown(other, chw), strict=True)) if given.shape == other.shape else ()
    evidence: dict[str, Any] = {
        "before": best.before,
        "after": best.after,
        "gain_on_training_samples": round(gain, 4),
        "training_samples": len(raws),
        "tried": count,
        "input_before": _span(given),
        "input_after": _span(other),
    }
    if best.axis in _NORMALISATION:
        says = (
            f"the model's input is not normalised as in training: it gets {best.before} ({_words(given)}), "
            f"and does better behind {best.after} ({_words(other)})"
        )
        subject = "missing normalisation" if _wide(given) > _wide(other) else "normalisation"
        return Finding("preprocessing", subject, says, evidence)
    says = f"{best.axis}: the specification says {best.before}, the model does better with {best.after}"
    return Finding("preprocessing", best.axis, says, evidence, seen=seen)


def _span(values: np.ndarray) -> dict[str, float]:
    flat = values.astype(np.float64)
    found = {"low": flat.min(), "high": flat.max(), "mean": flat.mean(), "spread": flat.std()}
    return {name: round(float(value), 4) for name, value in found.items()}


def _words(values: np.ndarray) -> str:
    span = _span(values)
    return f"{span['low']:g} to {span['high']:g}, mean {span['mean']:.3g}, spread {span['spread']:.3g}"


def _wide(values: np.ndarray) -> float:
    return float(np.abs(values.astype(np.float64)).max())


def _shown(inputs: np.ndarray, chw: bool) -> list[np.ndarray]:
    """The model's inputs as pictures for people: channels in the order they have, least value to largest."""
    if inputs.ndim != 4:
        return []
    values = (inputs.transpose(0, 2, 3, 1) if chw else inputs).astype(np.float64)
    if values.shape[-1] not in _CHANNELS:
        return []
    low, high = values.min(), values.max()
    grey = np.rint((values - low) / ((high - low) or 1.0) * 255).astype(np.uint8)
    return list(np.repeat(grey, 3, axis=-1) if grey.shape[-1] == 1 else grey)
