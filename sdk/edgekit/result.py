"""What an export made: plain facts for the command line, the report and the tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edgekit.choosing import Trial
from edgekit.contract import Choice
from edgekit.data import Sample
from edgekit.evaluate import Evaluation
from edgekit.progress import Stage
from edgekit_converters.placement import Placement
from edgekit_runtime.manifest import Manifest, Variant


@dataclass(frozen=True)
class VariantResult:
    """A variant with everything that was measured of it here.

    Attributes:
        variant: As the manifest has it.
        bytes: File size.
        drop: Drop of the primary metric against the source, None where accuracy was not measured.
        evaluation: Its evaluation, None where there was no labelled data.
        trial: How it stands on the samples that choose, None where those that are measured choose.
    """

    variant: Variant
    bytes: int
    drop: float | None = None
    evaluation: Evaluation | None = None
    trial: Trial | None = None


@dataclass(frozen=True)
class ExportResult:
    """What an export made.

    Attributes:
        bundle: The file.
        digest: Its digest.
        manifest: What it says about itself.
        source: The source model's evaluation, None where there was no labelled data.
        variants: Every variant that fits the target, in its order of preference.
        choice: Which one ships, and whether the contract holds.
        stages: What was done, in order.
        placement: Where the chosen variant's operators will run, None where the target does not say.
        samples: The samples that were evaluated, in the order of every evaluation's scores.
    """

    bundle: Path
    digest: str
    manifest: Manifest
    source: Evaluation | None
    variants: tuple[VariantResult, ...]
    choice: Choice
    stages: tuple[Stage, ...]
    placement: Placement | None = None
    samples: tuple[Sample, ...] = field(default=(), repr=False)
