"""What the report tells, gathered from what an export made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgekit.evaluate import Evaluation
from edgekit.progress import Stage
from edgekit.report.pareto import Plot
from edgekit.report.pictures import SamplePicture, sample_pictures
from edgekit_runtime.manifest import Manifest, Variant

if TYPE_CHECKING:
    from edgekit.result import ExportResult


@dataclass(frozen=True)
class ReportVariant:
    """One variant with all that was measured of it.

    Attributes:
        variant: As the manifest has it.
        bytes: File size.
        drop: Drop of the primary metric against the source, None where accuracy was not measured.
        latency_ms: Median milliseconds of one inference on this machine, None where it was not timed.
        evaluation: Its evaluation, None where there was no data.
    """

    variant: Variant
    bytes: int
    drop: float | None = None
    latency_ms: float | None = None
    evaluation: Evaluation | None = None


@dataclass(frozen=True)
class ClimbRow:
    """One rung of a compression, as it is printed.

    Attributes:
        number: Its place, from 1.
        rung: Its name.
        cost: What it costs.
        metric: The contract's metric, None where there is none.
        interval: Its interval, in words; empty where it is not known.
        drop: Against the source.
        drop_interval: Its interval, in words.
        latency_ms: Median of one inference.
        ratio: Its latency through float's of the same run.
        bytes: File size.
        ram_kb: Memory of the interpreter, base included.
        verdict: In words.
        chosen: Whether it ships.
        holds: Whether it holds the contract.
        trial: Drop on the samples that choose, None where those that are measured choose.
    """

    number: int
    rung: str
    cost: str
    metric: float | None
    interval: str
    drop: float | None
    drop_interval: str
    latency_ms: float | None
    ratio: float | None
    bytes: int | None
    ram_kb: float | None
    verdict: str
    chosen: bool
    holds: bool
    trial: float | None = None


@dataclass(frozen=True)
class ClimbData:
    """What a compression adds to the page.

    Attributes:
        rows: Every rung that was tried.
        plot: Accuracy against latency, None where either is not known.
        metric: Name of the contract's metric; empty for none.
        contract: The limits in words.
        remark: Why it is this rung.
        where: What latencies were measured on.
        memory: How memory was measured.
        chosen_by: Which samples chose, in words.
    """

    rows: tuple[ClimbRow, ...]
    plot: Plot | None
    metric: str
    contract: str
    remark: str
    where: str
    memory: str
    chosen_by: str = ""

    @property
    def tried(self) -> bool:
        """Whether other samples chose than those that were measured."""
        return any(r.trial is not None for r in self.rows)


@dataclass(frozen=True)
class ReportData:
    """Everything on the page.

    Attributes:
        manifest: What the bundle says about itself.
        variants: Every variant that was made, in the target's order of preference.
        source: The source model's evaluation, None where there was no data.
        stages: What was done, in order.
        pictures: Sample pictures with the chosen variant's answers.
        bundle: File name of the bundle.
        digest: Its digest.
        max_drop: The limit that was asked for, None for none.
        held: Whether the contract holds.
        machine: What timed the latencies, in words; empty where nothing was timed.
        climb: The rungs of a compression, None for an export.
    """

    manifest: Manifest
    variants: tuple[ReportVariant, ...]
    source: Evaluation | None = None
    stages: tuple[Stage, ...] = ()
    pictures: tuple[SamplePicture, ...] = ()
    bundle: str = ""
    digest: str = ""
    max_drop: float | None = None
    held: bool = True
    machine: str = field(default="")
    climb: ClimbData | None = None

    @property
    def chosen(self) -> ReportVariant:
        """The variant that ships."""
        return next(v for v in self.variants if v.variant.name == self.manifest.chosen)


def report_data(
    result: ExportResult, latencies: Mapping[str, float], *, max_drop: float | None = None, machine: str = ""
) -> ReportData:
    """Gather the content of a report.

    Args:
        result: What the export made.
        latencies: Variant name to median milliseconds on this machine.
        max_drop: The limit that was asked for.
        machine: What timed the latencies, in words.

    Raises:
        EdgekitError: A sample picture cannot be read.
    """
    variants = tuple(
        ReportVariant(r.variant, r.bytes, r.drop, latencies.get(r.variant.name), r.evaluation) for r in result.variants
    )
    chosen = next(v for v in variants if v.variant.name == result.manifest.chosen)
    pictures: tuple[SamplePicture, ...] = ()
    manifest = result.manifest
    labelled = manifest.task == "classification" and chosen.evaluation is not None and bool(result.samples)
    if manifest.specification.kind == "image" and labelled and chosen.evaluation is not None:
        pictures = sample_pictures(result.samples, chosen.evaluation, manifest.labels)
    return ReportData(
        manifest, variants, result.source, result.stages, pictures, result.bundle.name, result.digest, max_drop,
        result.choice.held, machine,
    )  # fmt: skip
