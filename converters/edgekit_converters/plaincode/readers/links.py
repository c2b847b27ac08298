"""From raw scores to labels and probabilities."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from edgekit_converters.plaincode.ir import (
    Above,
    Affine,
    Answer,
    Apply,
    Argmax,
    Builder,
    Concat,
    Register,
    Softmax,
)
from edgekit_converters.plaincode.reader import Part
from edgekit_converters.plaincode.readers.checks import labels


def complemented(builder: Builder, chance: Register, single: bool = False) -> Register:
    """``1 - p`` and ``p``."""
    rest = builder.add(Affine(chance, multiply=-np.ones(1), add=np.ones(1), single=single))
    return builder.add(Concat((rest, chance)))


def classifier(
    builder: Builder,
    raw: Register,
    classes: Any,
    exact: Iterable[str],
    *,
    factor: float = 1.0,
    or_equal: bool = False,
) -> Part:
    """A classifier of scikit-learn that has raw scores.

    Args:
        builder: Where to.
        raw: Its decision function: width 1 for two classes, else one a class.
        classes: (classes,) array of names.
        exact: Methods that are equal to the bit.
        factor: That the raw score is multiplied by before the logistic function (2 for exponential loss).
        or_equal: Whether a raw score of 0 means the second class.
    """
    if raw.width == 1:
        place = builder.add(Above(raw, 0.0, or_equal))
        scaled = raw if factor == 1 else builder.add(Affine(raw, multiply=np.array([factor])))
        chance = complemented(builder, builder.add(Apply(scaled, "logistic")))
    else:
        place, chance = builder.add(Argmax(raw)), builder.add(Softmax(raw))
    methods: dict[str, tuple[Answer, ...]] = {
        "predict": (Answer(place, labels(classes)),),
        "predict_proba": (Answer(chance),),
        "decision_function": (Answer(raw),),
    }
    return Part(methods, set(exact))
