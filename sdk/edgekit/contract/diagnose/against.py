"""Two specifications held together on the same raw samples: how much differs, and from which step on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.contract.diagnose.finding import Finding
from edgekit_runtime import Bundle
from edgekit_runtime.errors import EdgekitError, UsageError
from edgekit_runtime.manifest import SpecificationData
from edgekit_runtime.plain import PlainDataError, decode
from edgekit_runtime.specification import Specification
from edgekit_runtime.specification.step import Context, step_from_plain

_BITS = 8


@dataclass(frozen=True)
class Difference:
    """Two specifications on the same raw samples.

    Attributes:
        samples: How many.
        values: Share of the model's input values that differ.
        bits: Share of their bits that do; 1 where even type or shape differ.
        largest: Largest difference of a value; None where they cannot be subtracted.
        step: Number of the first step (from 1) that gives something else; 0 where nothing differs in the end.
        here: That step of the first one, as plain data; None where it has none.
        there: And of the other.
    """

    samples: int
    values: float
    bits: float
    largest: float | None
    step: int
    here: Mapping[str, Any] | None = None
    there: Mapping[str, Any] | None = None

    def in_words(self) -> str:
        """One sentence."""
        if not self.step:
            return f"both give the model the same, bit by bit, on {self.samples} samples"
        far = "" if self.largest is None else f", by up to {self.largest:.4g}"
        first = f"step {self.step} differs first: {_in_words(self.here, self.there)} here, "
        first += f"{_in_words(self.there, self.here)} there"
        return f"{self.values:.1%} of the model's input values ({self.bits:.1%} of the bits) differ{far}; {first}"


def read_specification(path: Path) -> SpecificationData:
    """The specification of a bundle, or of a JSON file.

    Raises:
        UsageError: It is neither.
        BundleError: The bundle cannot be opened.
    """
    if path.suffix == ".edgekit":
        with Bundle.open(path) as bundle:
            return bundle.manifest.specification
    try:
        return decode(SpecificationData, json.loads(path.read_text("utf-8")), path.name)
    except (OSError, ValueError, PlainDataError) as error:
        raise UsageError(
            f"--against {path} is neither a bundle nor a specification ({error})",
            'give an .edgekit file, or JSON as {"kind": ..., "input": [...], "output": [...]}',
        ) from error


def difference(one: SpecificationData, other: SpecificationData, raws: Sequence[Any]) -> Difference:
    """Run both on the same raw samples, step by step.

    Raises:
        UsageError: They are for different kinds of samples.
        SpecificationError: A sample cannot be prepared by one of them.
    """
    if one.kind != other.kind:
        raise UsageError(f"one specification is for {one.kind} samples, the other for {other.kind} samples",
                         "give --against a specification of the same kind")  # fmt: skip
    steps = [Specification.from_data(s).input for s in (one, other)]
    apart: list[np.ndarray] = []
    gaps: list[float] = []
    bits, first = [], 0
    for raw in raws:
        here, there = (_run(s, raw) for s in steps)
        for name in sorted({*here[-1], *there[-1]}):
            a, b = here[-1].get(name), there[-1].get(name)
            differs, share, gap = _between(a, b)
            apart.append(differs)
            bits.append(share)
            gaps.append(gap)
        if any(bool(d.any()) for d in apart) and not first:
            first = _first(here, there)
    flat = np.concatenate([d.reshape(-1) for d in apart])
    plain = [one.input[first - 1] if 0 < first <= len(one.input) else None,
             other.input[first - 1] if 0 < first <= len(other.input) else None]  # fmt: skip
    largest = float(max(gaps))
    return Difference(
        len(raws), float(flat.mean()), float(np.mean(bits)), largest if np.isfinite(largest) else None, first, *plain
    )


def find(case: Any) -> Iterator[Finding]:
    """Where another specification was given: what differs, and whether the model does better behind it."""
    from edgekit.contract.diagnose.finding import Fix

    if case.plan.against is None:
        return
    other = read_specification(Path(case.plan.against))
    now: SpecificationData = case.setting.specification
    found = told(case.plan.against, difference(now, other, [s.load() for s in case.pool[:32]]))
    if not found.evidence["step"]:
        yield found
        return
    fix = Fix(f"pre-process as {Path(case.plan.against).name} does", specification=replace(now, input=other.input))
    try:
        yield case.judged(found, fix)
    except EdgekitError as error:  # it is for a model with another input
        yield replace(found, says=f"{found.says}; this model does not take it ({error.message})")


def told(name: str, found: Difference) -> Finding:
    """A difference as a finding."""
    evidence = {k: v for k, v in vars(found).items() if v is not None}
    return Finding("against", Path(name).name, found.in_words(), evidence)


def _run(steps: Sequence[Any], raw: Any) -> list[dict[str, np.ndarray]]:
    """What every step gives, one after the other; the raw sample itself where there are none."""
    value, context = raw, Context()
    found = []
    for step in steps:
        value = step(value, context)
        found.append(_arrays(value))
    return found or [_arrays(value)]


def _arrays(value: Any) -> dict[str, np.ndarray]:
    if isinstance(value, Mapping):
        return {str(n): np.asarray(v) for n, v in value.items()}
    return {"": np.asarray(value)}


def _between(a: np.ndarray | None, b: np.ndarray | None) -> tuple[np.ndarray, float, float]:
    """(which values differ, share of bits that do, largest difference)."""
    if a is None or b is None or a.shape != b.shape or a.dtype.kind == "O" or b.dtype.kind == "O":
        return np.ones(max(1 if x is None else x.size for x in (a, b)), bool), 1.0, np.inf
    differs = ~((a == b) | ((a != a) & (b != b)))  # noqa: PLR0124 - NaN alone differs from itself
    gap = float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max()) if a.size and differs.any() else 0.0
    if a.dtype != b.dtype:
        return differs, 1.0, gap
    raw = [np.ascontiguousarray(x).view(np.uint8).reshape(-1) for x in (a, b)]
    share = float(np.unpackbits(raw[0] ^ raw[1]).mean()) if a.size else 0.0
    return differs, share, gap


def _first(here: Sequence[Mapping[str, np.ndarray]], there: Sequence[Mapping[str, np.ndarray]]) -> int:
    for number, (a, b) in enumerate(zip_longest(here, there), 1):
        if a is None or b is None or a.keys() != b.keys():
            return number
        if any(bool(_between(a[n], b[n])[0].any()) for n in a):
            return number
    return 0


def _in_words(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> str:
    """A step, with the settings that the other has otherwise."""
    if one is None:
        return "no step"
    settings = _settings(one)
    if other is not None and other["step"] == one["step"]:
        there = _settings(other)
        settings = {k: v for k, v in settings.items() if v != there[k]}
    words = ", ".join(f"{k} {v}" for k, v in settings.items())
    return f"{one['step']} ({words})" if words else str(one["step"])


def _settings(step: Mapping[str, Any]) -> dict[str, Any]:
    """All of a step's settings, defaults too."""
    made = step_from_plain(step, "a step")
    return {f.name: getattr(made, f.name) for f in fields(made)}
