"""The loop around pruning: sensitivity, steps, undoing; it knows no framework."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgekit_converters.errors import ConversionError
from edgekit_converters.slim.result import Cut, PruneResult, Step
from edgekit_converters.slim.settings import FineTune, Measure, PruneSettings, Score


@dataclass(frozen=True)
class Unit:
    """Channels that can be taken away: those that one layer makes, and all that goes together with them; or a block.

    Attributes:
        layer: Name of the layer, or of the block.
        channels: How many there are; 0 for a block that goes whole or stays.
        block: Channels that go together, as those of an attention head; 1 for each by itself.
    """

    layer: str
    channels: int
    block: int = 1

    @property
    def whole(self) -> bool:
        """Whether it is a block that goes whole or stays."""
        return self.channels == 0


class Surgeon(ABC):
    """What a framework must know for networks to be pruned."""

    @abstractmethod
    def copy(self, network: Any) -> Any:
        """A copy that shares no weights."""

    @abstractmethod
    def units(self, network: Any, settings: PruneSettings) -> tuple[tuple[Unit, ...], dict[str, str]]:
        """What may be cut, and the layers that may not, each with the reason."""

    @abstractmethod
    def least(self, network: Any, unit: Unit, count: int, importance: str) -> tuple[int, ...]:
        """The channels of least importance, whole blocks, ascending."""

    @abstractmethod
    def masked(self, network: Any, unit: Unit, channels: Sequence[int]) -> Any:
        """A copy in which nothing takes what those channels hold: the function that a cut leaves."""

    @abstractmethod
    def cut(self, network: Any, cuts: Sequence[Cut]) -> Any:
        """The network without those channels; `network` itself may be changed and given back."""

    @abstractmethod
    def channels(self, network: Any, unit: Unit) -> int:
        """How many of a unit's channels there are now; 0 where its layer went with a block."""

    @abstractmethod
    def cost(self, network: Any) -> tuple[int, int]:
        """(weights, multiply-accumulates of one inference)."""


def run(
    surgeon: Surgeon,
    network: Any,
    settings: PruneSettings,
    score: Score,
    measure: Measure,
    fine_tune: FineTune | None,
) -> PruneResult:
    """Prune in steps; each is kept only if it is measurably faster and the score holds.

    Raises:
        ConversionError: Nothing can be cut, or the network as given has no finite score.
    """
    current = surgeon.copy(network)
    given = _checked(score(current), "the network as given")
    units, left = surgeon.units(current, settings)
    if not units:
        reasons = "; ".join(f"{layer}: {why}" for layer, why in list(left.items())[:3])
        raise ConversionError(f"nothing in this network can be pruned ({reasons or 'it has no channels to cut'})")
    drops = {
        u.layer: given - _nan_is_worst(score(surgeon.masked(current, u, _trial(surgeon, current, u, settings))))
        for u in units
    }
    spared = most_sensitive({u.layer: drops[u.layer] for u in units if not u.whole}, settings)
    narrowed = [u for u in units if not u.whole and u.layer not in spared]
    dropped = cheapest_first(surgeon, current, [u for u in units if u.whole], drops, measure)
    steps: list[Step] = []
    cuts: tuple[Cut, ...] = ()
    reached, tries = 0.0, settings.retries
    waiting = [settings.share * (number + 1) / settings.steps for number in range(settings.steps)]
    while waiting:
        share = waiting.pop(0)
        gone = [Cut(u.layer, ()) for u in dropped[: settings.blocks(len(dropped), share)]]
        gone = [c for c in gone if c not in cuts]
        shallow = surgeon.cut(surgeon.copy(current), gone) if gone else surgeon.copy(current)
        candidate, made = _cut_to(surgeon, shallow, narrowed, share, settings)
        made = (*gone, *made)
        if not made:
            continue
        step = _try(surgeon, (network, current, candidate), share, given, settings, score, measure, fine_tune)
        steps.append(step)
        if step.kept:
            current, cuts, reached = candidate, (*cuts, *made), share
            if settings.speedup is not None and 1 / step.ratio >= settings.speedup:
                break
        elif step.score is not None:  # it was fast enough, but cost too much: more would cost more
            waiting = [(reached + share) / 2] if tries else []
            tries -= 1
    weights, macs = surgeon.cost(network)
    return PruneResult(current, given, weights, macs, tuple(steps), cuts, drops, spared, left)


def _try(
    surgeon: Surgeon,
    networks: tuple[Any, Any, Any],
    share: float,
    given: float,
    settings: PruneSettings,
    score: Score,
    measure: Measure,
    fine_tune: FineTune | None,
) -> Step:
    """Time first: fine-tuning what is no faster would be for nothing."""
    # twice, and the worse counts: on a busy machine one measurement may flatter a network many times over
    first, before, after = max((measure(*networks) for _ in range(2)), key=lambda ms: ms[2] / min(ms[:2]))
    parameters, macs = surgeon.cost(networks[2])
    ratio = after / first

    def step(found: float | None, why: str) -> Step:
        return Step(share, parameters, macs, found, after, ratio, not why, why)

    if not after <= before * (1 - settings.gain) or not after < first:
        return step(None, f"not faster: {after:.3f} ms after {before:.3f} ms")
    if fine_tune is not None and settings.epochs:
        fine_tune(networks[2], settings.epochs)
    found = score(networks[2])
    if math.isnan(found):
        return step(None, "the score is not a number")
    held = given - found <= settings.max_drop + 1e-12
    return step(found, "" if held else f"score {found:.4f} is {given - found:.4f} below {given:.4f}")


def _cut_to(
    surgeon: Surgeon, network: Any, units: Sequence[Unit], share: float, settings: PruneSettings
) -> tuple[Any, tuple[Cut, ...]]:
    made: list[Cut] = []
    for unit in units:
        count = surgeon.channels(network, unit) - settings.kept(unit.channels, share, unit.block)
        if count > 0:
            channels = surgeon.least(network, unit, count, settings.importance)
            made.append(Cut(unit.layer, channels))
    return (surgeon.cut(network, made) if made else network), tuple(made)


def cheapest_first(
    surgeon: Surgeon, network: Any, blocks: Sequence[Unit], drops: Mapping[str, float], measure: Measure
) -> list[Unit]:
    """Blocks in the order in which they are to go: by the drop of the score for each millisecond that is saved.

    Both are measured, one block at a time, as NetAdapt (Yang et al. 2018, arXiv:1804.03230) does for widths; times
    twice, and the larger saving counts: load on the machine hides savings. Blocks that save nothing even so go last.
    """
    price: dict[str, float] = {}
    for unit in blocks:
        without = surgeon.masked(network, unit, ())
        saved = max(before - after for before, after in (measure(network, without) for _ in range(2)))
        price[unit.layer] = drops[unit.layer] / saved if saved > 0 else math.inf
    return sorted(blocks, key=lambda u: price[u.layer])


def _trial(surgeon: Surgeon, network: Any, unit: Unit, settings: PruneSettings) -> tuple[int, ...]:
    if unit.whole:
        return ()
    blocks = unit.channels // unit.block
    count = min(max(1, round(blocks * settings.trial)), max(1, blocks - 1)) * unit.block
    return surgeon.least(network, unit, count, settings.importance)


def most_sensitive(drops: Mapping[str, float], settings: PruneSettings) -> tuple[str, ...]:
    """Layers to leave whole: those whose trial cost more than `max_drop`, the worst first, `spare` of all at most."""
    worst = sorted(drops, key=lambda layer: -drops[layer])
    return tuple(n for n in worst[: int(len(drops) * settings.spare)] if drops[n] > settings.max_drop)


def _checked(value: float, whose: str) -> float:
    if not math.isfinite(value):
        raise ConversionError(f"the score of {whose} is {value}", "check the data and `score`")
    return value


def _nan_is_worst(value: float) -> float:
    return -math.inf if math.isnan(value) else value
