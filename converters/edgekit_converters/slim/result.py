"""What pruning did: every step, kept or undone, and the cuts as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from edgekit_converters.errors import UsageError


@dataclass(frozen=True)
class Cut:
    """Channels taken away from a layer, and with it from all that goes together with them; or a whole block.

    Attributes:
        layer: Name of the layer that makes them, or of the block.
        channels: Their numbers at the time of the cut, ascending; empty for a whole block.
    """

    layer: str
    channels: tuple[int, ...]

    def plain(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {"layer": self.layer, "channels": list(self.channels)}


def read_cuts(plain: Sequence[Mapping[str, Any]]) -> tuple[Cut, ...]:
    """Cuts out of plain data.

    Raises:
        UsageError: An entry is not one.
    """
    found = []
    for number, entry in enumerate(plain):
        layer, channels = entry.get("layer"), entry.get("channels")
        if (
            set(entry) != {"layer", "channels"}
            or not isinstance(layer, str)
            or not isinstance(channels, list)
            or not all(type(c) is int and c >= 0 for c in channels)
        ):
            raise UsageError(f"cut {number} is not of the form {{layer, channels}}", "take it from what pruning wrote")
        found.append(Cut(layer, tuple(channels)))
    return tuple(found)


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        share: Share of the channels it was to have taken away, from the beginning.
        parameters: Weights of the network then.
        macs: Multiply-accumulates of one inference.
        score: After fine-tuning; None where it was undone before that.
        latency_ms: Measured.
        ratio: Latency over that of the network as given, in the same measurement.
        kept: Whether the network stayed so.
        why: What spoke against it; empty where it was kept.
    """

    share: float
    parameters: int
    macs: int
    score: float | None
    latency_ms: float
    ratio: float
    kept: bool
    why: str = ""


@dataclass(frozen=True)
class PruneResult:
    """The network that came out, and how.

    Attributes:
        module: The network; as given (a copy) where no step was worth it.
        score: Of the network as given.
        parameters: Weights of the network as given.
        macs: Its multiply-accumulates.
        steps: All steps in order.
        cuts: What was taken away, to be replayed.
        sensitivity: Layer to the drop of the score when a trial share of its channels alone is masked, block to that
            when it alone is dropped.
        spared: Layers left whole because they are the most sensitive.
        left: Layers left alone, with the reason.
    """

    module: Any = field(repr=False, compare=False)
    score: float
    parameters: int
    macs: int
    steps: tuple[Step, ...]
    cuts: tuple[Cut, ...]
    sensitivity: Mapping[str, float]
    spared: tuple[str, ...]
    left: Mapping[str, str]

    @property
    def last(self) -> Step | None:
        """The last step that was kept."""
        return next((s for s in reversed(self.steps) if s.kept), None)

    @property
    def speedup(self) -> float:
        """How many times as fast as given, as measured at the last step that was kept; 1 for none."""
        return 1 / self.last.ratio if self.last else 1.0

    def plain(self) -> dict[str, Any]:
        """All but the network, as JSON takes it."""
        return {
            "score": self.score,
            "parameters": self.parameters,
            "macs": self.macs,
            "steps": [asdict(s) for s in self.steps],
            "cuts": [c.plain() for c in self.cuts],
            "sensitivity": dict(self.sensitivity),
            "spared": list(self.spared),
            "left": dict(self.left),
        }

    def table(self) -> str:
        """Steps as a table in Markdown."""
        rows = ["| share | weights | MACs | score | ms | × given | kept |", "|---|---|---|---|---|---|---|"]
        rows.append(f"| 0 | {self.parameters:,} | {self.macs:,} | {self.score:.4f} | | 1.00 | |")
        for s in self.steps:
            score = "" if s.score is None else f"{s.score:.4f}"
            said = "yes" if s.kept else f"no: {s.why}"
            cells = (
                f"{s.share:.3f}",
                f"{s.parameters:,}",
                f"{s.macs:,}",
                score,
                f"{s.latency_ms:.3f}",
                f"{s.ratio:.2f}",
            )
            rows.append(f"| {' | '.join((*cells, said))} |")
        return "\n".join(rows)
