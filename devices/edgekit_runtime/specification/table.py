"""Rows of tables, and texts out of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Optional

import numpy as np

from edgekit_runtime.errors import SpecificationError
from edgekit_runtime.specification.step import Context, Step

_MAX_COLUMNS = 65_536


@dataclass(frozen=True)
class Columns(Step):
    """A row to a vector, in the order the model was trained with.

    Takes a mapping of column name to value, of which columns not named here are ignored, or the values in order.

    Attributes:
        names: Feature names in order.
        fill: Value for what is missing (absent, None, empty text or NaN); None gives NaN.
        categories: Column name to its categories; the value, as text, becomes the category's index, -1 for an unseen
            one and `fill` for a missing one.
        dtype: ``float32`` or ``float64``.
    """

    name = "columns"
    names: tuple[str, ...] = ()
    fill: Optional[float] = None
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if not 0 < len(self.names) <= _MAX_COLUMNS or len(set(self.names)) != len(self.names):
            raise ValueError(f"names must be 1 to {_MAX_COLUMNS} different columns")
        if self.dtype not in ("float32", "float64"):
            raise ValueError(f"dtype must be float32 or float64, not {self.dtype!r:.40}")
        if self.fill is not None and not abs(self.fill) <= 1e30:
            raise ValueError("fill must be within 1e30")
        strangers = sorted(set(self.categories) - set(self.names))
        if strangers:
            raise ValueError(f"categories name {strangers[0]!r:.60}, which is not a column")

    @cached_property
    def _places(self) -> Mapping[str, Mapping[str, float]]:
        """Category to index, for each column that has categories."""
        return {n: {c: float(i) for i, c in enumerate(known)} for n, known in self.categories.items()}

    def __call__(self, value: Any, context: Context) -> np.ndarray:
        if isinstance(value, Mapping):
            row = [value.get(name) for name in self.names]
            if not any(name in value for name in self.names):
                some = ", ".join(map(str, list(value)[:5])) or "nothing"
                raise SpecificationError(
                    f"the row has none of the model's columns; it has {some}", f"name them {', '.join(self.names[:5])}"
                )
        elif isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, (str, bytes, bytearray)):
            row = list(value)
            if len(row) != len(self.names):
                raise SpecificationError(f"the row has {len(row)} values, the model takes {len(self.names)}")
        else:
            raise SpecificationError(f"a row must be a mapping or a sequence of values, not {type(value).__name__}")
        return np.array([self._number(n, v) for n, v in zip(self.names, row)], self.dtype)

    def _number(self, name: str, value: Any) -> float:
        missing = float("nan") if self.fill is None else self.fill
        if value is None or (isinstance(value, str) and not value.strip()):
            return missing
        places = self._places.get(name)
        if places is not None:
            return places.get(str(value), missing if value != value else -1.0)  # noqa: PLR0124 - NaN alone differs
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            raise SpecificationError(f"column {name!r:.60} holds {value!r:.40}, which is not a number") from None
        return missing if number != number else number  # noqa: PLR0124


@dataclass(frozen=True)
class Text(Step):
    """One column of a row, or a text itself, to a text; what is missing becomes an empty one.

    Attributes:
        column: Name of the column.
    """

    name = "text"
    column: str = "text"

    def __call__(self, value: Any, context: Context) -> np.ndarray:
        if isinstance(value, Mapping):
            if self.column not in value:
                some = ", ".join(map(str, list(value)[:5])) or "nothing"
                raise SpecificationError(f"the row has no column {self.column!r:.60}; it has {some}")
            value = value[self.column]
        if value is None or value != value:  # noqa: PLR0124 - NaN alone differs
            value = ""
        if isinstance(value, (Mapping, Sequence, np.ndarray)) and not isinstance(value, str):
            raise SpecificationError(f"a text must be a string, not {type(value).__name__}")
        return np.array(str(value), object)
