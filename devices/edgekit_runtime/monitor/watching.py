"""Which of a model's scores have a sketch of their own, and where they are in an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from edgekit_runtime.manifest import Manifest

MOST = 32
"""Scores that are watched one by one: a thousand sketches would be 100 kB a window."""

OTHERS = "(strongest other)"
"""Name of the one sketch for the scores that are not watched: the largest of them in each answer."""


def chosen(names: Sequence[str], weights: Mapping[str, float]) -> tuple[str, ...]:
    """The names to watch, in their order: all where they are few, else the `MOST` with the largest weights."""
    if len(names) <= MOST:
        return tuple(names)
    ranked = sorted(range(len(names)), key=lambda i: (-weights.get(names[i], 0.0), i))
    return tuple(names[i] for i in sorted(ranked[:MOST]))


@dataclass(frozen=True)
class Watching:
    """Sketches' places in a model's flat scores.

    Attributes:
        names: Scores with a sketch of their own.
        places: Where each is.
        others: Whether `OTHERS` has a sketch, too.
        size: Scores that an answer must have; None where the bundle does not say.
    """

    names: tuple[str, ...]
    places: tuple[int, ...]
    others: bool
    size: Optional[int]

    @classmethod
    def of(cls, manifest: Manifest) -> Watching:
        """Read from the bundle's reference; one with more scores than `MOST` is cut to the most frequent classes."""
        reference, labels = manifest.monitoring, manifest.labels
        known = [n for n, q in reference.outputs.items() if n != OTHERS or n in labels]
        others = len(known) < len(reference.outputs)
        # JSON sorts keys: the order of the scores is that of the labels, or of their numbers
        order = {n: i for i, n in enumerate(labels)}
        named = all(n in order for n in known)
        if not named:
            numbered = all(n.isdecimal() for n in known)
            order = {n: int(n) if numbered else i for i, n in enumerate(known)}
        known.sort(key=order.__getitem__)
        size = len(known) if not others else len(labels) if named else None
        names = [n for n in chosen(known, reference.priors) if reference.outputs[n].nulls < 1]
        return cls(tuple(names), tuple(order[n] for n in names), others and reference.outputs[OTHERS].nulls < 1, size)

    def fits(self, size: int) -> bool:
        """Whether an answer of so many scores can be counted."""
        if not self.names:
            return True
        return size == self.size if self.size is not None else size > max(self.places)
