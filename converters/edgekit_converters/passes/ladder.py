"""The rungs that a compression climbs: recipes, cheapest first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgekit_converters.errors import UsageError
from edgekit_converters.limits import TargetLimits
from edgekit_converters.passes.plan import recipe_for
from edgekit_converters.recipe import Converted, PassContext, Recipe

_SAMPLED = ("int8", "w8a16")


@dataclass(frozen=True)
class Rung:
    """One recipe to try.

    Attributes:
        name: What it is called in the table.
        recipe: Passes as plain data.
        cost: What it costs against int8, in a word or two.
    """

    name: str
    recipe: Recipe
    cost: str = ""


def rungs(model: Converted, limits: TargetLimits, context: PassContext) -> Iterator[Rung]:
    """Every precision of the target, in its order.

    Args:
        model: The float model.
        limits: Of the target.
        context: Samples, where there are some.
    """
    for precision in limits.precisions:
        if precision == "fp32" or (precision in _SAMPLED and context.samples is None):
            continue
        try:
            yield Rung(precision, recipe_for(precision, model.format, limits))
        except UsageError:  # not for this format
            continue
