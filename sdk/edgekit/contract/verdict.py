"""Which of the attempts ships, and what is to be said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.contract.attempt import FLOAT, Attempt
from edgekit.contract.contract import Contract


@dataclass(frozen=True)
class Verdict:
    """The end of a climb.

    Attributes:
        chosen: What ships.
        held: Whether it holds every limit that was asked for.
        remark: Why it is this one, or how close the best came; empty where the first rung held.
    """

    chosen: Attempt
    held: bool
    remark: str = ""


def accepted(attempt: Attempt, contract: Contract, float_ships: bool) -> bool:
    """Whether the climb may end here: it ships, holds everything, and float would not be faster in its place."""
    return attempt.ships and not attempt.breaches(contract) and not (attempt.slower and float_ships)


def decide(attempts: Sequence[Attempt], contract: Contract) -> Verdict | None:
    """The first rung that holds the contract and is not slower than float; else float; else the least bad one.

    A rung that is slower than float ships only where float itself breaks a limit. None where nothing can ship.

    Args:
        attempts: As they were tried; float is among them.
        contract: What was asked for.
    """
    shipping = [a for a in attempts if a.ships]
    if not shipping:
        return None
    floating = next((a for a in shipping if a.rung == FLOAT), None)
    rungs = [a for a in shipping if a is not floating]
    tried = [a for a in attempts if a.rung != FLOAT]
    for rung in rungs:
        if accepted(rung, contract, floating is not None):
            before = tried[: tried.index(rung)]
            return Verdict(rung, True, _instead(rung, before, contract))
    if floating is not None and not floating.breaches(contract):
        return Verdict(floating, True, _instead(floating, tried, contract) or "float is chosen: there was no other")
    if slow := [r for r in rungs if not r.breaches(contract)]:
        assert floating is not None  # noqa: S101 - else it would have been accepted
        best = min(slow, key=lambda a: a.latency.ratio if a.latency else 1.0)
        return Verdict(best, True, f"{best.rung} is slower than float, which does not hold the contract: "
                                   f"{floating.verdict(contract)}")  # fmt: skip
    # what was asked for comes before what nobody asked for, however bad; slower than float has to be worth something
    worth = [a for a in shipping if not a.slower or floating is None or _mends(a, floating, contract)]
    best = min(worth, key=lambda a: (not _held(a, contract), sum(b.weight for b in a.breaches(contract))))
    said = "; ".join(b.words for b in best.breaches(contract))
    if _held(best, contract):
        return Verdict(best, True, f"{best.rung} holds what was asked for, which was no accuracy: {said}")
    closest = _closest(shipping, contract)
    return Verdict(best, False, f"no rung holds the contract; the best, {best.rung}: {said}{closest}")


def _mends(rung: Attempt, floating: Attempt, contract: Contract) -> bool:
    """Whether a rung holds a limit, other than of latency, that float breaks."""
    broken, other = ({b.what for b in a.breaches(contract)} for a in (rung, floating))
    return bool(other - broken - {"latency"})


def _held(attempt: Attempt, contract: Contract) -> bool:
    """Whether it holds all that was asked for."""
    return all(b.implied for b in attempt.breaches(contract))


def _instead(chosen: Attempt, before: Sequence[Attempt], contract: Contract) -> str:
    """Why those before it were passed over."""
    if not before:
        return ""
    reasons = "; ".join(f"{a.rung}: {a.verdict(contract)}" for a in before)
    return f"{chosen.rung} is chosen since {reasons}"


def _closest(shipping: Sequence[Attempt], contract: Contract) -> str:
    """How close the nearest came to a latency, size or memory that none of them holds."""
    said = []
    for what, unit, limit in (
        ("latency", "ms", contract.max_latency_ms),
        ("size", "KB", contract.max_size_kb),
        ("RAM", "KB", contract.max_ram_kb),
    ):
        known = [(value, a.rung) for a in shipping if (value := _figure(a, what)) is not None]
        if limit is None or not known:
            continue
        least, rung = min(known)
        if least > limit:
            said.append(f"no rung reaches {what} {limit:g} {unit}: the least is {least:.3g} {unit} of {rung}")
    return f" ({'; '.join(said)})" if said else ""


def _figure(attempt: Attempt, what: str) -> float | None:
    found = attempt.figures
    return {"latency": found.latency_ms, "size": found.size_kb, "RAM": found.ram_kb}[what]
