"""The recipes worth trying on a model for a target, cheapest first."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekit_converters.errors import ConversionError, UsageError
from edgekit_converters.limits import TargetLimits
from edgekit_converters.passes.outline import Outline, outline
from edgekit_converters.passes.plan import apply_recipe, recipe_for
from edgekit_converters.recipe import Converted, Feeds, PassContext, Recipe
from edgekit_converters.sensitivity import keep_in_float, layer_errors, output_sqnr

_LOOKED_AT = 16
"""Samples that recipes are compared on before any is measured on the task."""
_FLOAT_LAYERS = (1, 2, 4, 8)
_SUSPECTS = 8
_TOLERATED_DB = 1.0
"""A recipe this much farther from float than plain int8 is not worth a measurement."""
_RANGES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("percentile", {"method": "percentile", "percentile": 99.99}),
    ("mse", {"method": "mse"}),
)
"""Not entropy, which cuts off far more than the least squared error allows (docs/figures.md)."""


@dataclass(frozen=True)
class Rung:
    """One recipe to try.

    Attributes:
        name: As shown in tables: ``int8``, ``int8, mse ranges``, ``int8, 2 layers in float``.
        recipe: Plain data for `apply_recipe`.
        cost: What it costs over the first rung, in a word or two.
    """

    name: str
    recipe: Recipe
    cost: str = ""


def rungs(
    model: Converted, limits: TargetLimits, context: PassContext, memo: MutableMapping[str, Any] | None = None
) -> Iterator[Rung]:
    """Recipes for a float model, cheapest first; the later ones are worked out when they are reached.

    int8 with all that was seen as ranges and biases corrected, then with ranges that cut off what is rare, then with
    channels equalised or biases left alone, then with the joined ends of a detector in float, then with the layers in
    float that lose most, then 16-bit activations and fp16 where the target has them. Transformers begin with dynamic
    int8. What the passes refuse is left out, and so is what brings the outputs on the samples no closer to float.

    Args:
        model: The float model in the target's format.
        limits: The target's.
        context: Gives the samples for quantization calibration; without them no static int8 is offered.
        memo: What was looked at before with this model and these samples, plain data; what is looked at now is added.
    """
    if model.precision != "fp32" or model.format not in ("onnx", "tflite"):
        return
    shape = outline(model)
    transformer = shape.products > shape.convolutions
    if transformer and not limits.integer_io:
        yield from _plain("dynamic", model, limits, "none")
    if "int8" in limits.precisions and context.samples is not None:
        yield from _Int8(model, limits, context, shape, {} if memo is None else memo).climb()
    for precision in ("w8a16", "fp16"):
        if precision in limits.precisions or (precision, model.format) == ("fp16", "tflite"):
            yield from _plain(precision, model, limits, "size" if precision == "fp16" else "latency, some size")


def _plain(precision: str, model: Converted, limits: TargetLimits, cost: str) -> Iterator[Rung]:
    try:
        recipe = recipe_for(precision, model.format, limits)
    except UsageError:  # the target cannot run the result
        return
    yield Rung(precision, recipe, cost)


class _Int8:
    """The rungs of static int8, each built on the best settings of those below it."""

    def __init__(
        self,
        model: Converted,
        limits: TargetLimits,
        context: PassContext,
        shape: Outline,
        memo: MutableMapping[str, Any],
    ) -> None:
        self._model, self._shape, self._memo = model, shape, memo
        self._context = replace(context, limits=limits)
        self._entry = recipe_for("int8", model.format, limits)[0]
        self._movable = not limits.integer_io  # an accelerator of whole numbers has no place for float layers
        self._plain = self._top = 0.0
        self._best: dict[str, Any] = {}

    def climb(self) -> Iterator[Rung]:
        yield Rung("int8", self._recipe({}), "none")
        self._plain = self._top = self._quality({}) or 0.0
        for name, settings in self._by_quality(dict(_RANGES)):
            yield Rung(f"int8, {name} ranges", self._recipe(settings), "none")
        base = self._best
        mended = {"equalised": {**base, "equalise": True}, "biases as they were": {**base, "correct_biases": False}}
        for name, settings in self._by_quality(mended):
            yield Rung(f"int8, {name}", self._recipe(settings), "none")
        if not self._movable:
            return
        tail = list(self._shape.tail) if self._shape.joins else []
        if tail:
            self._top = max(self._top, self._quality(self._best, tail) or 0.0)
            yield Rung("int8, ends in float", self._recipe(self._best, tail), "some latency")
        yield from self._mixed(tail)

    def _by_quality(self, candidates: Mapping[str, dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Candidates that their passes accept, closest to float first; what is farther than plain int8 is left out."""
        found = {name: self._quality(settings) for name, settings in candidates.items()}
        good = {name: q for name, q in found.items() if q is not None and q > self._plain - _TOLERATED_DB}
        for name in sorted(good, key=lambda n: -good[n]):
            if good[name] > self._top:
                self._top, self._best = good[name], candidates[name]
            yield name, candidates[name]

    def _quality(self, settings: dict[str, Any], floats: Iterable[str] = ()) -> float | None:
        """Signal to noise (dB) of the outputs; None where the passes refuse."""
        recipe = self._recipe(settings, floats)
        found: float | None = self._once("quality", recipe, lambda: self._measured(recipe))
        return found

    def _measured(self, recipe: Recipe) -> float | None:
        with tempfile.TemporaryDirectory(prefix="edgekit-ladder-", dir=self._context.folder) as work:
            try:
                made = self._applied(recipe, Path(work))
            except ConversionError:
                return None
            return output_sqnr(self._model, made, self._samples())

    def _once(self, what: str, recipe: Recipe, look: Callable[[], Any]) -> Any:
        """What a look at a recipe came to, from the memo where it was looked at before."""
        key = f"{what} {json.dumps(recipe, sort_keys=True)}"
        if key not in self._memo:
            self._memo[key] = look()
        return self._memo[key]

    def _mixed(self, tail: list[str]) -> Iterator[Rung]:
        """First and last layer in float, then more and more of those that lose most, while that brings something."""
        weighted, cost = self._shape.weighted, "latency, some size"
        if len(weighted) > 2:
            yield from self._better(
                "int8, first and last layer in float", dict.fromkeys([*tail, weighted[0], weighted[-1]]), cost
            )
        worst = self._worst(tail)
        for count in _FLOAT_LAYERS:
            if count <= len(worst):
                plural = "layer" if count == 1 else "layers"
                yield from self._better(f"int8, {count} {plural} in float", [*tail, *worst[:count]], cost)

    def _better(self, name: str, floats: Iterable[str], cost: str) -> Iterator[Rung]:
        names = list(floats)
        if (quality := self._quality(self._best, names) or 0.0) > self._top:
            self._top = quality
            yield Rung(name, self._recipe(self._best, names), cost)

    def _worst(self, tail: list[str]) -> list[str]:
        """Layers by what the outputs gain when one is in float: tried on those with the largest errors of their own."""
        recipe = self._recipe(self._best, tail)
        ranked = self._once("layers", recipe, lambda: self._ranked(recipe))
        names = [name for name in ranked if name not in tail][:_SUSPECTS]
        gains = {name: self._quality(self._best, [*tail, name]) or 0.0 for name in names}
        return sorted(names, key=lambda n: -gains[n])

    def _ranked(self, recipe: Recipe) -> list[str]:
        """Layers by the errors of their own, largest first."""
        with tempfile.TemporaryDirectory(prefix="edgekit-ladder-", dir=self._context.folder) as work:
            errors = layer_errors(self._model, self._applied(recipe, Path(work)), self._samples(), alone=True)
        return [e.name for e in sorted(errors, key=lambda e: e.sqnr_db if e.own_sqnr_db is None else e.own_sqnr_db)]

    def _samples(self) -> Iterable[Feeds]:
        assert self._context.samples is not None  # noqa: S101 - asked before
        return itertools.islice(iter(self._context.samples()), _LOOKED_AT)

    def _applied(self, recipe: Recipe, folder: Path) -> Converted:
        return apply_recipe(recipe, self._model, replace(self._context, folder=folder))

    def _recipe(self, settings: dict[str, Any], floats: Iterable[str] = ()) -> Recipe:
        entry = {**self._entry, **settings}
        if names := keep_in_float(self._model.format, floats):
            entry["exclude"] = names
        return (entry,)
