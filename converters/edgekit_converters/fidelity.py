"""Does the converted model do what the source does? Compared on the interpreter that ships."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from edgekit_converters.errors import ConversionError
from edgekit_converters.files import open_model
from edgekit_converters.recipe import Converted, Feeds
from edgekit_converters.source import Source
from edgekit_converters.trace import first_deaf, first_different, first_not_finite, trace
from edgekit_runtime.binding import feeder, fetcher
from edgekit_runtime.manifest import TensorInfo

FLOAT_TOLERANCE = 1e-4
"""Largest difference of a float conversion, as a share of the output's largest magnitude."""
_SMALLEST = 1e-2
"""Outputs smaller than this are held to `FLOAT_TOLERANCE` of this: below it float32 rounding shows."""
_WORDS = ("a", "good morning", "it does not work at all", "1 2 3", "")
_WHOLE_TOLERANCE = 0.25
"""Share of whole-number outputs (classes, counts) that may differ in a float conversion: near ties fall both ways."""
_HEARD = 0.05
"""A quantized model that gives one answer is at fault where the source's answers differ by this share of their size."""


@dataclass(frozen=True)
class Fidelity:
    """Differences from the source over the probe inputs.

    Attributes:
        max_abs: Largest absolute difference.
        mean_abs: Mean absolute difference.
        relative: `max_abs` over the largest magnitude of the source's outputs.
    """

    max_abs: float
    mean_abs: float
    relative: float

    def as_dict(self) -> dict[str, float]:
        """For the manifest."""
        return asdict(self)


def random_feeds(inputs: Sequence[TensorInfo], count: int, seed: int) -> list[Feeds]:
    """Random model inputs with a batch of 1: floats in 0..1, whole numbers in 0..1, short texts, free extents 1.

    Args:
        inputs: The model's inputs.
        count: How many.
        seed: Makes them repeatable.
    """
    generator = np.random.default_rng(seed)
    feeds: list[Feeds] = []
    for _ in range(count):
        feed = {}
        for info in inputs:
            shape = tuple(1 if e == -1 else e for e in info.shape)
            if info.dtype == "string":
                feed[info.name] = generator.choice(np.array(_WORDS, object), shape)
                continue
            values = generator.random(shape) if info.dtype.startswith("float") else generator.integers(0, 2, shape)
            feed[info.name] = np.asarray(values).astype(info.dtype)
        feeds.append(feed)
    return feeds


class _File:
    """A converted model on its interpreter, fed as the source is."""

    def __init__(self, source: Source, model: Converted) -> None:
        self.model = model
        self._session = session = open_model(model.runnable, model.format)
        named = {b.name: (i, b) for i, b in zip(source.inputs, model.inputs, strict=True)}
        self._feeders = [(t.name, named[t.name][0].name, feeder(*named[t.name], t)) for t in session.inputs]
        places = {t.name: n for n, t in enumerate(session.outputs)}
        self._fetchers = [
            (i.name, places[b.name], fetcher(i, b, session.outputs[places[b.name]]))
            for i, b in zip(source.outputs, model.outputs, strict=True)
        ]

    def arrays(self, feed: Feeds) -> dict[str, np.ndarray]:
        """The file's inputs by their names in the file, in its order."""
        return {tensor: convert(feed[name]) for tensor, name, convert in self._feeders}

    def run(self, feed: Feeds) -> dict[str, np.ndarray]:
        """Outputs by their names in the source."""
        values = self._session.run(list(self.arrays(feed).values()))
        return {name: convert(values[place]) for name, place, convert in self._fetchers}

    def close(self) -> None:
        self._session.close()


def compare(source: Source, model: Converted, feeds: Sequence[Feeds], *, strict: bool) -> Fidelity:
    """Run both on the same inputs.

    Args:
        source: The reference.
        model: The converted model.
        feeds: At least one input, batch of 1.
        strict: Whether a difference above `FLOAT_TOLERANCE` is an error (float conversions).

    Raises:
        ConversionError: NaN, constant outputs, outputs that ignore the input, or a mismatch; names the output and,
            where it can be told, the first operation at fault.
    """
    file = _File(source, model)
    try:
        expected = [source.run(feed) for feed in feeds]
        found = [file.run(feed) for feed in feeds]
        worst, total, count, largest = 0.0, 0.0, 0, 0.0
        for info in source.outputs:
            references = [e[info.name] for e in expected]
            values = [f[info.name] for f in found]
            if not _same_shapes(info.name, values, references, strict):
                continue
            a, b = np.concatenate([v.reshape(-1) for v in values]), np.concatenate([r.reshape(-1) for r in references])
            if b.dtype.kind != "f":
                _check_whole(info.name, a, b, model, strict)
                continue
            _check_finite(info.name, a, b, file, feeds)
            difference = np.abs(a.astype(np.float64) - b)
            worst = max(worst, float(difference.max(initial=0.0)))
            total, count = total + float(difference.sum()), count + a.size
            size = float(np.abs(b).max(initial=0.0))
            largest = max(largest, size)
            _check_hears(info.name, values, references, file, feeds)
            if strict and difference.max(initial=0.0) > FLOAT_TOLERANCE * max(size, _SMALLEST):
                worst_feed = feeds[
                    int(np.argmax([np.abs(v - r).max() for v, r in zip(values, references, strict=True)]))
                ]
                raise ConversionError(
                    f"the float conversion to {model.format} differs from the source: output {info.name!r} is off by "
                    f"{difference.max():.3g}{_where(lambda: _leaves(source, file, worst_feed))}",  # noqa: B023 - called here
                    "try another --format; the converter gets an operation of this model wrong",
                )
        _check_source_hears(source, expected, file, feeds)
    finally:
        file.close()
    return Fidelity(worst, total / max(count, 1), worst / (largest or 1.0))


def _same_shapes(name: str, values: Sequence[np.ndarray], references: Sequence[np.ndarray], strict: bool) -> bool:
    """Whether outputs can be compared; how many boxes there are may change with the precision, other shapes may not."""
    for value, reference in zip(values, references, strict=True):
        if value.shape != reference.shape:
            if strict or value.ndim != reference.ndim:
                raise ConversionError(
                    f"output {name!r} has shape {value.shape} after conversion, {reference.shape} before"
                )
            return False
    return True


def _check_whole(name: str, a: np.ndarray, b: np.ndarray, model: Converted, strict: bool) -> None:
    if strict and b.size and float((a != b).mean()) > _WHOLE_TOLERANCE:
        raise ConversionError(
            f"the float conversion to {model.format} differs from the source: {int((a != b).sum())} of {b.size} whole "
            f"numbers of output {name!r} are others",
            "try another --format; the converter gets an operation of this model wrong",
        )


def _check_finite(name: str, a: np.ndarray, b: np.ndarray, file: _File, feeds: Sequence[Feeds]) -> None:
    if np.isfinite(a).all():
        if not np.isfinite(b).all():
            raise ConversionError(f"output {name!r} of the source holds NaN or infinity, after conversion it does not")
        return
    what = "the source gives them too" if not np.isfinite(b).all() else "the source does not"

    def first() -> str:
        for feed in feeds:
            found = first_not_finite(trace(file.model.path, file.model.format, file.arrays(feed)))
            if found:
                return f"first at operation {found}"
        return ""

    raise ConversionError(
        f"output {name!r} of the {file.model.name} model holds NaN or infinity ({what}){_where(first)}"
    )


def _check_hears(
    name: str, values: Sequence[np.ndarray], references: Sequence[np.ndarray], file: _File, feeds: Sequence[Feeds]
) -> None:
    """One answer for every input where the source's answers clearly differ: the ranges swallow the signal."""
    if len({v.shape for v in values}) > 1 or _spread(values) > 0:
        return
    step = next(b.scale for b in file.model.outputs if b.tensor == name)
    clearly = max(_HEARD * max(float(np.abs(r).max(initial=0.0)) for r in references), 4 * step)
    if _spread(references) > clearly:
        raise ConversionError(
            f"output {name!r} of the {file.model.name} model is the same for every input, the source's is not"
            f"{_where(lambda: _deaf(file, feeds))}",
            "the quantization ranges are wrong: give other --calibration-data, or --quantize fp32",
        )


def _check_source_hears(
    source: Source, expected: Sequence[dict[str, np.ndarray]], file: _File, feeds: Sequence[Feeds]
) -> None:
    """A model that gives one answer whatever it is shown was broken before it came here."""
    floats = all(t.dtype.startswith("float") for t in (*source.inputs, *source.outputs))
    if not floats or len(feeds) < 2 or not source.outputs or _varies(source, expected):
        return
    # noise in 0..1 may all look dark to it: try inputs that are far apart before blaming it
    wide = [{n: (v - np.float32(0.5)) * np.asarray(s, v.dtype) for n, v in f.items()} for f in feeds for s in (4, 512)]
    if not _varies(source, [*expected, *(source.run(feed) for feed in wide)]):
        names = ", ".join(repr(o.name) for o in source.outputs)
        raise ConversionError(
            f"the source itself ignores its input: output {names} is the same for every input"
            f"{_where(lambda: _deaf(file, feeds))}",
            "look at how it was trained or saved; no export can mend it",
        )


def _varies(source: Source, outputs: Sequence[dict[str, np.ndarray]]) -> bool:
    return any(
        len({o[info.name].shape for o in outputs}) > 1 or _spread([o[info.name] for o in outputs]) != 0
        for info in source.outputs
    )


def _spread(values: Sequence[np.ndarray]) -> float:
    """Largest range of an element over the inputs; infinity for a single input, about which nothing can be said."""
    if len(values) < 2 or not values[0].size:
        return float("inf")
    return float(np.ptp(np.stack(values).astype(np.float64), axis=0).max())


def _leaves(source: Source, file: _File, feed: Feeds) -> str:
    return first_different(trace(file.model.path, file.model.format, file.arrays(feed)), source.layers(feed))


def _deaf(file: _File, feeds: Sequence[Feeds]) -> str:
    one, other = (trace(file.model.path, file.model.format, file.arrays(f)) for f in (feeds[0], feeds[-1]))
    found = first_deaf(one, other)
    return f"first at operation {found}" if found else ""


def _where(tell: Callable[[], str]) -> str:
    """``; first at operation …``; empty where it cannot be told."""
    try:
        found = tell()
    except Exception:  # looking for the culprit must never hide the fault itself
        return ""
    return f"; {found}" if found else ""
