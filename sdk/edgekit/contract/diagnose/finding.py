"""What a diagnosis says: findings with their evidence, what each explains, and what repairs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit_converters.recipe import Recipe
from edgekit_runtime.manifest import SpecificationData


def short_name(layer: str) -> str:
    """A layer's name for people: converters to TFLite make paths of modules or scopes, and join what they fused."""
    parts = [p.rstrip("/") for p in layer.split(";") if p.strip("0123456789/ ")]
    if not parts:
        return layer
    if "torch.nn" in parts[-1]:
        return parts[-1].rsplit("/", 1)[-1].rsplit(".", 1)[-1]
    return "/".join(parts[-1].split("/")[-2:])


@dataclass(frozen=True)
class Setting:
    """All that can be changed of a bundle without touching the trained model.

    Attributes:
        specification: Pre- and post-processing.
        recipe: Passes from the float file to the variant that ships; empty for the float file itself.
    """

    specification: SpecificationData
    recipe: Recipe = ()


@dataclass(frozen=True)
class Fix:
    """What repairs a finding: only what is given changes.

    Attributes:
        name: In a few words, as ``equalise channels``.
        specification: The corrected one.
        recipe: The better one.
        recalibrate: Whether ranges are found anew, from training samples spread over the classes.
    """

    name: str
    specification: SpecificationData | None = None
    recipe: Recipe | None = None
    recalibrate: bool = False

    def on(self, setting: Setting) -> Setting:
        """The setting with this fix made. Whatever is quantized anew is calibrated anew."""
        return replace(
            setting,
            specification=self.specification or setting.specification,
            recipe=setting.recipe if self.recipe is None else self.recipe,
        )


@dataclass(frozen=True)
class Finding:
    """One culprit, or one suspect that was cleared.

    Attributes:
        kind: Which file of this package found it: ``preprocessing``, ``against``, ``calibration``, ``channels``,
            ``ranges``, ``layers``.
        subject: What is at fault: a step, a layer, a class.
        says: What is wrong, in one sentence.
        evidence: The figures, name to a number, a text or a list of them.
        explains: How much of the primary metric its fix alone gives back, measured (0.05 = 5 points); None where it
            was not measured.
        real: Whether that is more than chance would give (`edgekit.evaluate.compare`).
        fix: What repairs it, None where nothing here can.
        command: What to type to have this one repaired.
        seen: Pictures as the model sees them before and after, uint8 and scaled to be looked at.
    """

    kind: str
    subject: str
    says: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    explains: float | None = None
    real: bool = False
    fix: Fix | None = None
    command: str = ""
    seen: tuple[tuple[np.ndarray, np.ndarray], ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True)
class Layer:
    """One layer of the variant that ships, held against the same layer of the float file.

    Attributes:
        name: As the passes' `exclude` takes it.
        op: Kind of operator.
        sqnr_db: Signal to quantization noise of its output, errors of the layers before it included.
        cosine: Cosine between the two outputs.
        low: Least value in float.
        high: Largest value in float.
        saturated: Share of values at the ends of the quantized range.
        dead: Share of channels that never leave one code.
        alone: Drop of the primary metric with only this layer quantized; None where it was not tried.
        restored: Gain with only this layer back in float; None where it was not tried.
    """

    name: str
    op: str
    sqnr_db: float
    cosine: float
    low: float
    high: float
    saturated: float
    dead: float
    alone: float | None = None
    restored: float | None = None


@dataclass(frozen=True)
class Repair:
    """What `apply` made.

    Attributes:
        bundle: The file; None where nothing better was found.
        applied: Names of the fixes in it, in order.
        accuracy: Primary metric of what it ships.
        drop: Against the float model with the corrected specification.
        held: Whether the drop is within what was asked for.
    """

    bundle: Path | None
    applied: tuple[str, ...]
    accuracy: float
    drop: float
    held: bool


@dataclass(frozen=True)
class Diagnosis:
    """The result.

    Attributes:
        bundle: The file that was looked at.
        variant: Name of the variant that was looked at, and what ran it.
        metric: The task's primary metric; empty without labelled data, and the three after it None.
        shipped: Its value of that variant.
        floating: Of the float model behind the same specification.
        reachable: Of the float model behind the corrected specification.
        samples: How many measured.
        findings: Culprits, what explains most first.
        cleared: What was suspected and explains nothing.
        layers: Worst first.
        repair: What `apply` made; None where it was not asked for or nothing was found.
    """

    bundle: Path
    variant: str
    metric: str
    shipped: float | None
    floating: float | None
    reachable: float | None
    samples: int
    findings: tuple[Finding, ...] = ()
    cleared: tuple[Finding, ...] = ()
    layers: tuple[Layer, ...] = ()
    repair: Repair | None = None
