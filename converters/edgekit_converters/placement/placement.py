"""What a placement is: one row per operator, in the model's own order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

CPU = "CPU"


@dataclass(frozen=True)
class OpPlacement:
    """Where one operator runs.

    Attributes:
        index: Its position in the model's operator list.
        op: Its kind as the format names it (``CONV_2D``, ``Conv``).
        unit: Compute unit: ``Edge TPU``, ``TensorRT``, ``XNNPACK`` or ``CPU``.
        reason: Why it is not on the accelerator; empty where it is.
    """

    index: int
    op: str
    unit: str
    reason: str = ""


@dataclass(frozen=True)
class Placement:
    """Where a model's operators run.

    Attributes:
        unit: The accelerator that was asked about.
        ops: One row per operator.
        origin: How it is known: ``predicted``, ``compiled`` or ``measured here``.
        bytes: What the accelerator's memory holds and what is streamed to it (``cached``, ``streamed``); empty where
            the notion does not apply.
        notes: What else a user should know, one sentence each.
    """

    unit: str
    ops: tuple[OpPlacement, ...]
    origin: str = "predicted"
    bytes: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def accelerated(self) -> int:
        """How many operators run on the accelerator."""
        return sum(op.unit == self.unit for op in self.ops)

    @property
    def offload(self) -> float:
        """Share of the operators that run on the accelerator, 0 to 1; 0 for a model without operators."""
        return self.accelerated / len(self.ops) if self.ops else 0.0

    def in_words(self) -> str:
        """``31 of 32 ops on the Edge TPU (predicted)``."""
        return f"{self.accelerated} of {len(self.ops)} ops on {_THE.get(self.unit, self.unit)} ({self.origin})"

    def broken(self, min_offload: float | None = None, require_accelerator: bool = False) -> str:
        """What a gate has against it, in half a sentence; empty where the gates hold.

        Args:
            min_offload: Least share of operators on the accelerator, 0 to 1.
            require_accelerator: Whether every operator must be there but for conversions of type at the model's ends.
        """
        if min_offload is not None and self.offload < min_offload:
            return f"{self.offload:.1%} of the operators run on {_THE.get(self.unit, self.unit)}, not {min_offload:.1%}"
        left = [op for op in self.ops if op.unit != self.unit and op.op not in _CONVERSIONS]
        if require_accelerator and (left or not self.accelerated):
            if not left:
                return f"nothing runs on {_THE.get(self.unit, self.unit)}"
            first = left[0]
            return f"{len(left)} operators do not run on {_THE.get(self.unit, self.unit)}, first {first.op} " \
                   f"(number {first.index}: {first.reason})"  # fmt: skip
        return ""


_THE = {"Edge TPU": "the Edge TPU"}
_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE", "QuantizeLinear", "DequantizeLinear")
