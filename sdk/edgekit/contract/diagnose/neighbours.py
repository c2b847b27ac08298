"""Specifications one usual mistake away from a given one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgekit_runtime.errors import EdgekitError
from edgekit_runtime.manifest import SpecificationData
from edgekit_runtime.specification import Specification
from edgekit_runtime.specification.presets import IMAGE_PRESETS
from edgekit_runtime.specification.resampling import INTERPOLATIONS

_COLOURS = {"rgb": "bgr", "bgr": "rgb"}
_FITS = ("stretch", "letterbox", "crop")
_ARITHMETIC = ("scale", "normalize", "cast")
# means of ImageNet in 0..255, subtracted and not divided by anything, as Caffe's models (VGG, ResNet) want them
_CAFFE = ({"step": "normalize", "mean": [123.68, 116.779, 103.939], "std": [1.0]},)
_LEAST_SPREAD = 1e-6

Step = Mapping[str, Any]


@dataclass(frozen=True)
class Neighbour:
    """A specification and the one thing that it does otherwise.

    Attributes:
        axis: What differs: ``colour order``, ``scaling``, ``normalisation``, ``resizing``, ``axis order``, ``peak``.
        before: How the given one does it, in a few words.
        after: How this one does.
        specification: The whole of it.
    """

    axis: str
    before: str
    after: str
    specification: SpecificationData


def neighbours(given: SpecificationData, raws: Sequence[Any]) -> Iterator[Neighbour]:
    """Every specification that one usual mistake leads to or from.

    Args:
        given: Where to start.
        raws: Some training samples as the user has them: their mean and spread make the one that standardises.
    """
    steps = list(given.input)
    if given.kind == "image":
        yield from _colours(given, steps)
        yield from _scalings(given, steps)
        yield from _resizings(given, steps)
        yield from _axes(given, steps)
    elif given.kind == "tensor":
        yield from _ranges(given, steps)
    elif given.kind == "audio":
        yield from _peaks(given, steps)
    if given.kind in ("image", "tensor", "table"):
        yield from _standardised(given, steps, raws)


def _with(given: SpecificationData, steps: Sequence[Step]) -> SpecificationData:
    return replace(given, input=tuple(steps))


def _place(steps: Sequence[Step], name: str) -> int | None:
    return next((i for i, s in enumerate(steps) if s["step"] == name), None)


def _changed(steps: Sequence[Step], place: int, **settings: Any) -> list[Step]:
    return [*steps[:place], {**steps[place], **settings}, *steps[place + 1 :]]


def _colours(given: SpecificationData, steps: Sequence[Step]) -> Iterator[Neighbour]:
    place = _place(steps, "decode")
    now = "rgb" if place is None else str(steps[place].get("colour", "rgb"))
    if place is not None and now in _COLOURS:
        other = _COLOURS[now]
        yield Neighbour("colour order", now, other, _with(given, _changed(steps, place, colour=other)))


def arithmetic(steps: Sequence[Step]) -> tuple[int, int]:
    """(first, end) of the run of arithmetic steps, or twice the place where it would be: before layout and reshape."""
    first = next((i for i, s in enumerate(steps) if s["step"] in _ARITHMETIC), None)
    if first is None:
        last = max([i for i, s in enumerate(steps) if s["step"] in ("decode", "resize", "columns")], default=-1)
        return last + 1, last + 1
    end = first
    while end < len(steps) and steps[end]["step"] in _ARITHMETIC:
        end += 1
    return first, end


def scaling_name(steps: Sequence[Step]) -> str:
    """The preset that does the same arithmetic, or the arithmetic in words."""
    first, end = arithmetic(steps)
    for name, preset in IMAGE_PRESETS.items():
        if _same_arithmetic(steps[first:end], preset):
            return name
    return ", then ".join(_in_words(s) for s in steps[first:end]) or "none"


def _in_words(step: Step) -> str:
    settings = ", ".join(f"{k} {v}" for k, v in step.items() if k != "step")
    return f"{step['step']} ({settings})" if settings else str(step["step"])


def _same_arithmetic(one: Sequence[Step], other: Sequence[Step]) -> bool:
    """Whether two runs of steps give the same on grey levels of three channels."""
    levels = np.linspace(0, 255, 6, dtype=np.float32).reshape(1, 2, 3)
    both = []
    for steps in (one, other):
        value: Any = levels
        try:
            value = Specification.from_data(SpecificationData("tensor", tuple(steps))).preprocess(levels, _context())
        except EdgekitError:  # settings for another number of channels are another arithmetic
            return False
        both.append(np.asarray(value, np.float64))
    return bool(np.allclose(both[0], both[1], rtol=1e-4, atol=1e-4))


def _context() -> Any:
    from edgekit_runtime.specification.step import Context

    return Context()


def _scalings(given: SpecificationData, steps: Sequence[Step]) -> Iterator[Neighbour]:
    first, end = arithmetic(steps)
    now = scaling_name(steps)
    for name, preset in {**IMAGE_PRESETS, "caffe": _CAFFE}.items():
        if name != now and not _same_arithmetic(steps[first:end], preset):
            yield Neighbour("scaling", now, name, _with(given, [*steps[:first], *preset, *steps[end:]]))


def _resizings(given: SpecificationData, steps: Sequence[Step]) -> Iterator[Neighbour]:
    place = _place(steps, "resize")
    if place is None:
        return
    now = steps[place]
    interpolation, fit = str(now.get("interpolation", "bilinear")), str(now.get("fit", "stretch"))
    smooth = bool(now.get("antialias", False))
    before = f"{interpolation}{', antialias' if smooth else ''}"
    for other in INTERPOLATIONS:
        for antialias in (False, True) if other in ("bilinear", "bicubic") else (False,):
            if (other, antialias) != (interpolation, smooth):
                after = f"{other}{', antialias' if antialias else ''}"
                made = _changed(steps, place, interpolation=other, antialias=antialias)
                yield Neighbour("resizing", before, after, _with(given, made))
    for other in _FITS:
        if other != fit:
            settings: dict[str, Any] = {"fit": other} if other == "crop" else {"fit": other, "keep": 1.0}
            yield Neighbour("resizing", fit, other, _with(given, _changed(steps, place, **settings)))


def _axes(given: SpecificationData, steps: Sequence[Step]) -> Iterator[Neighbour]:
    """The other axis order; the model's input refuses it unless the steps end in a flat array, or it is a cube."""
    place = _place(steps, "layout")
    now = "hwc" if place is None else str(steps[place].get("order", "hwc"))
    other = "chw" if now == "hwc" else "hwc"
    if place is not None:
        yield Neighbour("axis order", now, other, _with(given, _changed(steps, place, order=other)))
        return
    _, end = arithmetic(steps)
    made = [*steps[:end], {"step": "layout", "order": other}, *steps[end:]]
    yield Neighbour("axis order", now, other, _with(given, made))


def _ranges(given: SpecificationData, steps: Sequence[Step]) -> Iterator[Neighbour]:
    first, end = arithmetic(steps)
    now = scaling_name(steps)
    for name in ("0..1", "-1..1"):
        if name != now:
            yield Neighbour("scaling", now, name, _with(given, [*steps[:first], *IMAGE_PRESETS[name], *steps[end:]]))
    if first != end:
        yield Neighbour("scaling", now, "none", _with(given, [*steps[:first], *steps[end:]]))


def _peaks(given: SpecificationData, steps: Sequence[Step]) -> Iterator[Neighbour]:
    place = _place(steps, "waveform")
    if place is not None:
        now = bool(steps[place].get("peak", False))
        words = {True: "divided by the peak", False: "as loud as it is"}
        yield Neighbour("peak", words[now], words[not now], _with(given, _changed(steps, place, peak=not now)))


def _standardised(given: SpecificationData, steps: Sequence[Step], raws: Sequence[Any]) -> Iterator[Neighbour]:
    """Mean 0 and spread 1 in every channel (column, for tables), as the training samples have them."""
    first, end = arithmetic(steps)
    if not raws or any(s["step"] in ("text", "reshape") for s in steps[:first]):
        return
    front = Specification.from_data(replace(given, input=tuple(steps[:first]), output=()))
    values = [np.asarray(front.preprocess(raw, _context()), np.float64) for raw in raws]
    if any(v.ndim == 0 or v.shape[-1] != values[0].shape[-1] for v in values):
        return
    flat = np.concatenate([v.reshape(-1, v.shape[-1]) for v in values])
    if not np.isfinite(flat).all():
        return
    mean, std = flat.mean(axis=0), flat.std(axis=0)
    std = np.where(std > _LEAST_SPREAD, std, 1.0)  # a constant column stays one
    if np.allclose(mean, 0, atol=0.1) and np.allclose(std, 1, atol=0.1):
        return
    step = {"step": "normalize", "mean": [round(float(m), 6) for m in mean], "std": [round(float(s), 6) for s in std]}
    after = "mean 0, spread 1 (of the training samples)"
    before = scaling_name(steps)
    yield Neighbour("normalisation", before, after, _with(given, [*steps[:first], step, *steps[end:]]))
