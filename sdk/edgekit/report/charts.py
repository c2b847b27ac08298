"""Geometry of the charts; the template draws them as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgekit_runtime.manifest import ConfidenceBin

WIDTH, LABEL, VALUE, ROW = 360, 112, 60, 30
"""Units of the bar charts: whole width, left column for names, right one for values, height of a row."""

FULL = WIDTH - LABEL - VALUE
"""Length of the longest possible bar."""

_LABEL_LETTERS = 14  # bold ones fill the column: `tflite-dynamic`

SQUARE = 200
"""Side of the reliability diagram."""


@dataclass(frozen=True)
class Bar:
    """One bar: its name, its length in the unit of the chart, what stands beside it, whether it is the one to see."""

    label: str
    value: float
    text: str
    chosen: bool = False


@dataclass(frozen=True)
class Drawn:
    """A bar with its place: `y` of its row, `length` in chart units, and its name shortened to fit."""

    bar: Bar
    y: int
    length: float
    label: str


def bars(rows: Sequence[Bar], full: float | None = None) -> tuple[Drawn, ...]:
    """Horizontal bars from zero; negative values have no length.

    Args:
        rows: Top to bottom.
        full: Value of the longest possible bar; None for the largest value there is.
    """
    top = max([b.value for b in rows], default=0.0)
    scale = FULL / (max(full or 0.0, top) or 1.0)
    return tuple(Drawn(b, i * ROW, round(max(b.value * scale, 0.0), 1), _short(b.label)) for i, b in enumerate(rows))


def _short(label: str) -> str:
    return label if len(label) <= _LABEL_LETTERS else label[: _LABEL_LETTERS - 1] + "…"


@dataclass(frozen=True)
class Column:
    """One confidence bin as a rectangle in a `SQUARE`, origin at the upper left; `weight` is its opacity."""

    x: float
    y: float
    width: float
    height: float
    weight: float
    bin: ConfidenceBin


def reliability(table: Sequence[ConfidenceBin]) -> tuple[Column, ...]:
    """The confidence table as columns; a calibrated model's end on the diagonal, and rare bins are faint."""
    most = max([b.samples for b in table], default=1)
    return tuple(
        Column(
            round(b.low * SQUARE, 1),
            round((1 - b.accuracy) * SQUARE, 1),
            round((b.high - b.low) * SQUARE, 1),
            round(b.accuracy * SQUARE, 1),
            round(0.2 + 0.8 * math.sqrt(b.samples / most), 2),
            b,
        )
        for b in table
    )
