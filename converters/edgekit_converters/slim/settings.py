"""How to prune, as plain data; the same for PyTorch and Keras."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

IMPORTANCES = ("group-l2", "l1", "l2", "bn")

Score = Callable[[Any], float]
"""Network to how well it does on held-out data; more is better."""
Measure = Callable[..., Sequence[float]]
"""Any number of networks to the milliseconds of each, timed in turn in one go on the runtime that ships."""
FineTune = Callable[[Any, int], None]
"""(network, epochs): trains it in place."""


@dataclass(frozen=True)
class PruneSettings:
    """How to prune.

    Attributes:
        share: Share of the channels that the last step has taken away from every group that is not spared.
        steps: In how many steps; after each the network is fine-tuned, scored, and kept or undone.
        importance: Which channels go: those of least ``group-l2`` (norm over all weights of a group), ``l1`` or ``l2``
            (of the layer that makes them; Li et al. 2017), ``bn`` (scale of the batch norm behind them; Liu et al.
            2017, falls back to ``group-l2`` where there is none).
        channel_multiple: What channel counts are rounded to. Odd counts can be slower than what was there before.
        trial: Share that is masked in one group alone to learn how sensitive it is.
        spare: At most this share of the groups is left whole: the most sensitive ones.
        heads: Whether attention heads go too.
        depth: Share of the blocks that the last step has dropped whole, besides the channels of the others: layers of
            transformers, residual blocks; those first whose loss costs the least for each millisecond they take.
        keep: Names of layers whose channels are left alone, besides those that hold the outputs.
        max_drop: How far the score may fall below that of the network as given.
        gain: Share of the latency a step must save to be kept.
        speedup: Stop as soon as the network is so many times as fast as given; None to take all steps.
        epochs: Epochs of fine-tuning after each step.
        retries: How often a step whose score fell too far is tried again half as far.
    """

    share: float = 0.5
    steps: int = 3
    importance: str = "group-l2"
    channel_multiple: int = 8
    trial: float = 0.5
    spare: float = 0.2
    heads: bool = True
    depth: float = 0.0
    keep: tuple[str, ...] = ()
    max_drop: float = 0.01
    gain: float = 0.03
    speedup: float | None = None
    epochs: int = 1
    retries: int = 1

    def __post_init__(self) -> None:
        if self.importance not in IMPORTANCES:
            raise ValueError(f"importance must be one of {', '.join(IMPORTANCES)}, not {self.importance!r:.40}")
        for name in ("share", "trial"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must lie between 0 and 1, not {getattr(self, name):g}")
        if not 0 <= self.spare < 1 or not 0 <= self.gain < 1:
            raise ValueError("spare and gain must be at least 0 and below 1")
        if not 0 <= self.depth < 1:
            raise ValueError(f"depth must be at least 0 and below 1, not {self.depth:g}")
        if self.channel_multiple < 1 or self.steps < 1 or self.epochs < 0 or self.retries < 0:
            raise ValueError("channel_multiple and steps must be at least 1, epochs and retries at least 0")
        if self.speedup is not None and self.speedup <= 1:
            raise ValueError(f"speedup must be above 1, not {self.speedup:g}")

    def blocks(self, count: int, share: float) -> int:
        """How many of `count` blocks are dropped in the step that takes `share` of the channels."""
        return round(count * self.depth * share / self.share)

    def kept(self, channels: int, share: float, block: int = 1) -> int:
        """How many of a group's channels stay.

        Args:
            channels: How many there were at first.
            share: Share to take away.
            block: Channels that go together (a head's); counts are rounded to whole ones then.
        """
        multiple = block if block > 1 else self.channel_multiple
        left = max(multiple, round(channels * (1 - share) / multiple) * multiple)
        return min(left, channels)
