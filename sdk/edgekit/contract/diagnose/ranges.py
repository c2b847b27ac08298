"""Quantized ranges that cut values off, or are so wide that channels never leave one code."""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.contract.diagnose.case import Case, with_settings
from edgekit.contract.diagnose.finding import Finding, Fix, short_name
from edgekit.contract.diagnose.layers import ask_worst

SATURATED = 0.01
"""Share of a layer's values beyond its range from which on it is a suspect."""
DEAD = 0.1
"""Share of a layer's channels that never leave one code from which on it is a suspect."""

_METHODS = ("percentile", "mse", "average", "entropy", "minmax")  # the likeliest to help first


def find(case: Case) -> Iterator[Finding]:
    """Where a gap is left and layers saturate or are dead: find their ranges in another way."""
    if not case.variant.recipe:
        return
    case.refresh()
    if not case.gap:
        return
    ask_worst(case)
    errors = case.errors_now()
    cut = sorted((e for e in errors if e.saturated > SATURATED), key=lambda e: -e.saturated)
    dead = sorted((e for e in errors if e.dead > DEAD), key=lambda e: -e.dead)
    if not cut and not dead:
        return
    evidence = {
        "saturated": [{"layer": e.name, "share": round(e.saturated, 4)} for e in cut],
        "dead": [{"layer": e.name, "share": round(e.dead, 4), "low": e.low, "high": e.high} for e in dead],
    }
    words = []
    if cut:
        words.append(f"{cut[0].saturated:.1%} of the values of {short_name(cut[0].name)!r} are beyond its range")
    if dead:
        words.append(f"{dead[0].dead:.0%} of the channels of {short_name(dead[0].name)!r} never leave one code")
    subject = short_name((cut or dead)[0].name)
    fixes = [
        Fix(f"{method} ranges", recipe=with_settings(case.setting.recipe, method=method)) for method in _other(case)
    ]
    yield case.best(Finding("ranges", subject, "; ".join(words), evidence), fixes)


def _other(case: Case) -> list[str]:
    """Ways to find ranges that the recipe does not use."""
    if not case.knows("method"):
        return []
    return [m for m in _METHODS if m != case.setting.recipe[-1].get("method", "minmax")]
