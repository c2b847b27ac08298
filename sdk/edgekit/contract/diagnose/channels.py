"""Channels whose values dwarf those of their neighbours: one scale for all leaves the others a code or two."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.contract.diagnose.case import Case, with_settings
from edgekit.contract.diagnose.finding import Finding, Fix, short_name
from edgekit.contract.diagnose.layers import ask_worst
from edgekit_converters.passes.calibration import file_feeds
from edgekit_converters.passes.onnx_file import prepare
from edgekit_converters.tap import Step, Tap, open_tap

FACTOR = 20.0
"""A channel that reaches this many times further than the median channel is an outlier."""

_SAMPLES = 16
_LISTED = 8
_WEIGHTED = ("conv", "gemm", "matmul", "fullyconnected")


@dataclass(frozen=True)
class Outlier:
    """One channel of one layer's output.

    Attributes:
        layer: Name of the layer.
        channel: Which one, from 0.
        factor: Its largest magnitude over that of the median channel.
        reach: Its largest magnitude.
        around: Layers that give or take it, by name: they stay float where nothing better helps.
    """

    layer: str
    channel: int
    factor: float
    reach: float
    around: tuple[str, ...]


def find(case: Case) -> Iterator[Finding]:
    """Look at every channel of the float model on calibration samples; equalise, else keep what touches it in float."""
    if not case.knows("exclude"):
        return
    case.refresh()
    if not case.gap:
        return
    ask_worst(case)
    found = outliers(case)
    if not found:
        return
    first = found[0]
    evidence: dict[str, Any] = {
        "layer": first.layer,
        "channel": first.channel,
        "factor": round(first.factor, 1),
        "reach": round(first.reach, 4),
        "others": [
            {"layer": o.layer, "channel": o.channel, "factor": round(o.factor, 1)} for o in found[1 : 1 + _LISTED]
        ],
    }
    more = f", and {len(found) - 1} more like it" if len(found) > 1 else ""
    layer = short_name(first.layer)
    says = (
        f"channel {first.channel} of {layer!r} reaches {first.factor:,.0f} times as far as the median channel"
        f"{more}; they share one scale in int8"
    )
    around = tuple(dict.fromkeys(name for o in found for name in o.around))
    fixes = []
    if case.knows("equalise") and not case.setting.recipe[-1].get("equalise"):
        fixes.append(Fix("equalise channels", recipe=with_settings(case.setting.recipe, equalise=True)))
    fixes.append(Fix(f"keep the {len(around)} layers around it in float", recipe=case.excluding(around)))
    yield case.best(Finding("channels", f"channel {first.channel} of {layer}", says, evidence), fixes)


def outliers(case: Case) -> list[Outlier]:
    """Outlier channels of every layer with weights, the worst first."""
    model = case.bench.floating
    feeds = file_feeds(model, case.bench.context())[:_SAMPLES]
    with tempfile.TemporaryDirectory(prefix="edgekit-channels-") as folder:
        path = model.path
        if model.format == "onnx":  # the layers are called as in what the quantizer sees
            path = prepare(path, Path(folder), case.bench.target.limits)
        tap = open_tap(path, model.format)
        reach = _reach(tap, feeds, channels_first=model.format == "onnx")
    found = []
    for place, step in enumerate(tap.steps):
        if not step.outputs or step.outputs[0] not in reach or not _weighted(step):
            continue
        each = reach[step.outputs[0]]
        moving = each[each > 0]
        if len(moving) < 2:
            continue
        median = float(np.median(moving))
        around = _around(tap.steps, place)
        name = step.name or step.outputs[0]
        found += [
            Outlier(name, int(c), float(each[c] / median), float(each[c]), around)
            for c in np.flatnonzero(each > FACTOR * median)
        ]
    return sorted(found, key=lambda o: -o.factor)


def _reach(tap: Tap, feeds: Sequence[dict[str, np.ndarray]], *, channels_first: bool) -> dict[str, np.ndarray]:
    """Tensor name to the largest magnitude of each of its channels."""
    found: dict[str, np.ndarray] = {}
    for feed in feeds:
        for name, value in tap.run(feed).items():
            if value.dtype.kind != "f" or value.ndim < 2:
                continue
            axis = 1 if channels_first and value.ndim != 3 else value.ndim - 1
            other = tuple(a for a in range(value.ndim) if a != axis)
            each = np.abs(value).max(axis=other)
            if name not in found:
                found[name] = each
            elif found[name].shape == each.shape:
                found[name] = np.maximum(found[name], each)
    return found


def _weighted(step: Step) -> bool:
    return any(word in step.op.lower().replace("_", "") for word in _WEIGHTED)


def _around(steps: Sequence[Step], place: int) -> tuple[str, ...]:
    """The layer, and everything after it up to and with the next layers with weights."""
    names = [steps[place].name or steps[place].outputs[0]]
    carried = set(steps[place].outputs)
    for step in steps[place + 1 :]:
        if not carried.intersection(step.inputs) or not step.outputs:
            continue
        names.append(step.name or step.outputs[0])
        if not _weighted(step):
            carried.update(step.outputs)
    return tuple(names)
