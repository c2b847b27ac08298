"""The layers that quantization harms most, found by bringing one at a time back to float."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from edgekit.contract.diagnose.case import Case, layer_of
from edgekit.contract.diagnose.finding import Finding, Fix, Layer, short_name
from edgekit_converters.sensitivity import LayerError

_ASKED = 3  # layers whose own share of the drop is measured: each costs two quantizations
_RESTORED = (1, 2, 3, 5, 8)  # how many of the worst are tried in float together
_NAMED = 3


def find(case: Case) -> Iterator[Finding]:
    """Where a gap is left: the worst layers, what each costs alone, and how many must stay float to close it."""
    if not case.knows("exclude"):
        return
    case.refresh()
    if not case.gap:
        return
    ask_worst(case)
    errors = case.errors_now()
    worst = sorted(errors, key=_own)[: _RESTORED[-1]]
    fixes = [
        Fix(f"keep {_count(n)} in float", recipe=case.excluding([e.name for e in worst[:n]]))
        for n in _RESTORED
        if n <= len(worst)
    ]
    evidence = {
        "layers": [e.name for e in worst],
        "own_sqnr_db": [round(_own(e), 1) for e in worst],
    }
    names = ", ".join(short_name(e.name) for e in worst[:_NAMED])
    says = f"quantization harms {names} most: {_own(worst[0]):.1f} dB of signal to noise in the worst"
    yield case.best(Finding("layers", short_name(worst[0].name), says, evidence), fixes)


def ask_worst(case: Case) -> None:
    """Measure what the worst layers cost by themselves, once, before anything is done about them."""
    if not case.knows("exclude") or any(one.alone is not None for one in case.layers):
        return
    errors = case.errors_now()
    worst = sorted(errors, key=_own)[:_ASKED]
    with case.bench.progress.stage("layers", f"the worst {len(worst)} by themselves") as stage:
        asked = {e.name: _asked(case, e, errors) for e in stage.track(worst, len(worst))}
    case.layers = tuple(
        replace(one, alone=asked[one.name].alone, restored=asked[one.name].restored) if one.name in asked else one
        for one in case.layers
    )


def _asked(case: Case, error: LayerError, every: Sequence[LayerError]) -> Layer:
    """One layer with its share of the drop: all others in float, and it alone in float."""
    restored = case.tried(replace(case.setting, recipe=case.excluding([error.name])))
    others = [e.name for e in every if e.name != error.name]
    alone = case.tried(replace(case.setting, recipe=case.excluding(others)))
    return replace(
        layer_of(error),
        restored=None if restored is None else case.gain(case.current, restored),
        alone=None if alone is None else case.gain(alone, case.floating),
    )


def _own(error: LayerError) -> float:
    return error.sqnr_db if error.own_sqnr_db is None else error.own_sqnr_db


def _count(number: int) -> str:
    return "1 layer" if number == 1 else f"{number} layers"
