"""The search space as plain data: lists of choices, and ranges of numbers."""

from __future__ import annotations

import difflib
import itertools
import json
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit_runtime.errors import UsageError

if TYPE_CHECKING:
    from optuna.trial import Trial

_RANGE = ("low", "high", "log", "step")


@dataclass(frozen=True)
class Choices:
    """One of some values; values that are lists are kept as JSON, since storages take scalars."""

    values: tuple[Any, ...]

    def __str__(self) -> str:
        return ", ".join(map(str, self.values))

    def suggest(self, trial: Trial, name: str) -> Any:
        """A value."""
        return _out(trial.suggest_categorical(name, [_in(v) for v in self.values]))

    def grid(self) -> list[Any]:
        """All values, as the storage keeps them."""
        return [_in(v) for v in self.values]


@dataclass(frozen=True)
class Range:
    """A number between two others, both included; whole where both are written as whole numbers."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def __str__(self) -> str:
        words = [f"{self.low:g} to {self.high:g}", *(["logarithmic"] if self.log else [])]
        return ", ".join([*words, *([f"in steps of {self.step:g}"] if self.step else [])])

    @property
    def whole(self) -> bool:
        """Whether it is of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def suggest(self, trial: Trial, name: str) -> Any:
        """A value."""
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return trial.suggest_float(name, self.low, self.high, log=self.log, step=self.step)

    def grid(self) -> list[Any]:
        """All values.

        Raises:
            UsageError: There are infinitely many.
        """
        if self.step is None and not self.whole:
            raise UsageError("a grid needs a list of values, or a range with a step", "sampler random takes ranges")
        step = self.step or 1
        count = math.floor((self.high - self.low) / step + 1e-9) + 1
        return [self.low + i * step for i in range(count)]


Space = Mapping[str, "Choices | Range"]


def read_space(data: Mapping[str, Any], known: Collection[str]) -> dict[str, Choices | Range]:
    """Read ``{"rate": {"low": 1e-4, "high": 1e-1, "log": true}, "backbone": ["a", "b"]}``.

    Args:
        data: Plain data.
        known: Names that there are.

    Raises:
        UsageError: A name or a key that there is not (with the nearest), or a range that is none.
    """
    if not data:
        raise UsageError("the search space is empty", "give [space] with one line a parameter, as rate = [0.1, 0.01]")
    found: dict[str, Choices | Range] = {}
    for name, value in data.items():
        check_name(name, known, "the search space has no parameter")
        if isinstance(value, list):
            if not value or len({_in(v) if isinstance(v, list) else repr(v) for v in value}) < len(value):
                raise UsageError(f"the choices of {name!r:.60} are none, or one is there twice", "correct the list")
            found[name] = Choices(tuple(value))
        elif isinstance(value, Mapping):
            found[name] = _range(name, value)
        else:
            raise UsageError(f"{name!r:.60} is one value, which is no search", "put it into [train] or [export]")
    return found


def _range(name: str, value: Mapping[str, Any]) -> Range:
    for key in value:
        check_name(key, _RANGE, f"the range of {name!r:.60} has no setting")
    low, high, step = value.get("low"), value.get("high"), value.get("step")
    numbers = [v for v in (low, high, step) if v is not None]
    if low is None or high is None or not all(_number(v) for v in numbers) or not low < high:
        raise UsageError(f"the range of {name!r:.60} needs numbers low < high", "write {low = 0.001, high = 0.1}")
    log = value.get("log", False)
    if not isinstance(log, bool) or (step is not None and (log or step <= 0)) or (log and low <= 0):
        raise UsageError(
            f"the range of {name!r:.60} cannot be so", "log is true or false, of numbers above 0, without step"
        )
    return Range(low, high, log, step)


def check_name(name: str, known: Collection[str], sentence: str) -> None:
    """Refuse a name that there is not: a misspelt one must not be a default.

    Raises:
        UsageError: It is not known; names the nearest.
    """
    if name not in known:
        close = difflib.get_close_matches(name, list(known), 1)
        raise UsageError(f"{sentence} {name!r:.60}", f"did you mean {close[0]}?" if close else
                         f"there are {', '.join(sorted(known))}")  # fmt: skip


def grid_points(space: Space) -> Iterator[dict[str, Any]]:
    """Every combination."""
    names = list(space)
    for values in itertools.product(*(space[n].grid() for n in names)):
        yield dict(zip(names, values, strict=True))


def plain(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as the storage keeps them, to what they mean."""
    return {name: _out(value) for name, value in params.items()}


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _in(value: Any) -> Any:
    return "json:" + json.dumps(value) if isinstance(value, (list, dict)) else value


def _out(value: Any) -> Any:
    return json.loads(value[5:]) if isinstance(value, str) and value.startswith("json:") else value
