"""One rung tried: what came out, how it stands to the contract."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.contract.contract import Breach, Contract, Figures
from edgekit.contract.latency import Latency
from edgekit.contract.memory import Memory
from edgekit.evaluate import Interval
from edgekit.result import VariantResult

FLOAT = "float"


@dataclass(frozen=True)
class Attempt:
    """One rung of the ladder, tried.

    Attributes:
        rung: Its name; ``float`` for the model before any recipe.
        cost: What it costs, in a word or two.
        result: The variant and its accuracy; None where the rung could not be made.
        refusal: Why it could not be made, or why it cannot ship though it was measured; empty where it can.
        latency: Next to float in the same run.
        memory: Of the interpreter.
        interval: Of the metric.
        drop_interval: Of the drop.
        seconds: How long it took, when it was made.
        kept: Whether it is from an earlier run.
    """

    rung: str
    cost: str = ""
    result: VariantResult | None = None
    refusal: str = ""
    latency: Latency | None = None
    memory: Memory | None = None
    interval: Interval | None = None
    drop_interval: Interval | None = None
    seconds: float = 0.0
    kept: bool = False

    @property
    def ships(self) -> bool:
        """Whether it may go into a bundle."""
        return self.result is not None and not self.refusal

    @property
    def slower(self) -> bool:
        """Whether it takes longer than float did in the same run."""
        return self.rung != FLOAT and self.latency is not None and self.latency.ratio > 1

    @property
    def figures(self) -> Figures:
        """What a contract is about."""
        if self.result is None:
            return Figures()
        return Figures(
            self.result.drop,
            self.latency.ms if self.latency else None,
            self.result.bytes / 1000,
            self.memory.kb if self.memory else None,
        )

    def breaches(self, contract: Contract) -> tuple[Breach, ...]:
        """Limits that it does not hold."""
        return contract.breaches(self.figures)

    def verdict(self, contract: Contract) -> str:
        """In words, for the table."""
        if self.refusal:
            return self.refusal
        said = [b.words for b in self.breaches(contract)]
        if self.slower and self.latency is not None:
            said.append(f"slower than float ({self.latency.ratio:.2f} times)")
        return "; ".join(said) or "holds"
