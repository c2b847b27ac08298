"""One rung tried: what came out, how it stands to the contract."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgekit.choosing import Trial
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
        """Whether it surely takes longer than float did in the same run."""
        return self.rung != FLOAT and self.latency is not None and self.latency.surely_slower

    @property
    def doubt(self) -> str:
        """What is to be said of a rung that looks slower than float and may not be; empty for any other."""
        found = self.latency
        if self.rung == FLOAT or found is None or found.low is None or found.high is None:
            return ""
        if self.slower or found.ratio <= 1:
            return ""
        return (f"the times do not tell whether {self.rung} is slower than float ({found.low:.2f} to {found.high:.2f} "
                "times): measure on a machine that is idle")  # fmt: skip

    @property
    def trial(self) -> Trial | None:
        """How it stands on the samples that choose; None where those that are measured choose."""
        return self.result.trial if self.result else None

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
        """Limits that it does not hold.

        Where other samples choose, the drop is theirs; only what holds on them is put to the proof, and has to hold on
        the measured ones as well.
        """
        proof, trial = contract.breaches(self.figures), self.trial
        if trial is None:
            return proof
        found = contract.breaches(replace(self.figures, drop=trial.drop))
        if any(b.what == "drop" for b in found):
            return _said(found, f"{{}} on {trial.split}")
        return _said(proof, f"held on {trial.split}, not on {trial.proof}: {{}}")

    def verdict(self, contract: Contract) -> str:
        """In words, for the table."""
        if self.refusal:
            return self.refusal
        said = [b.words for b in self.breaches(contract)]
        if self.slower and self.latency is not None:
            said.append(f"slower than float ({self.latency.ratio:.2f} times)")
        return "; ".join(said) or "holds"


def _said(breaches: tuple[Breach, ...], form: str) -> tuple[Breach, ...]:
    """Breaches with that of the drop in other words."""
    return tuple(replace(b, words=form.format(b.words)) if b.what == "drop" else b for b in breaches)
