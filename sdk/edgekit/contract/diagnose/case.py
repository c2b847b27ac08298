"""The patient: a bundle on the workbench, made anew with one thing changed at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edgekit.contract.diagnose.finding import Finding, Fix, Layer, Setting
from edgekit.contract.diagnose.plan import DiagnosePlan
from edgekit.data import Sample
from edgekit.evaluate import Evaluation, compare, evaluate, measured_by_answers, primary_metric
from edgekit.feeding import feeds, source_outputs
from edgekit.golden import pick
from edgekit.plan import ExportPlan
from edgekit.progress import Progress
from edgekit.result import VariantResult
from edgekit.workbench import Workbench
from edgekit_converters.errors import ConversionError, UsageError
from edgekit_converters.passes import apply_recipe
from edgekit_converters.recipe import Converted, Recipe
from edgekit_converters.registry import pass_class
from edgekit_converters.sensitivity import LayerError, keep_in_float, layer_errors
from edgekit_converters.sources.bundle import FORMATS
from edgekit_runtime import Bundle, Runtime
from edgekit_runtime.manifest import DataInfo, Manifest, SpecificationData, Variant
from edgekit_runtime.plain import encode
from edgekit_runtime.specification import Specification

GAIN = 0.01
"""What explains less of the primary metric than this is no culprit, however sure."""

_BY_ANSWERS_GAIN = 0.03  # where there is no test (boxes), what explains less may be chance
_POOL = 160  # training samples that specifications are tried on
_LOOKED_AT = 24  # evaluation samples that layers are compared on


@contextmanager
def opened(plan: DiagnosePlan, progress: Progress) -> Iterator[Case]:
    """A bundle taken onto the workbench: its shipped variant and its float model, both measured.

    Raises:
        UsageError: There is nothing to hold the bundle against, or the data has no labels; says what to give.
        BundleError: The bundle cannot be opened.
        EdgekitError: As `Workbench.take_in` and `Workbench.lower`.
    """
    with ExitStack() as stack:
        bundle = stack.enter_context(Bundle.open(plan.bundle))
        manifest = bundle.manifest
        variant = _looked_at(bundle, plan.variant)
        if plan.source is None and not any(v.precision == "fp32" and v.format in FORMATS for v in manifest.variants):
            raise UsageError(
                f"{Path(plan.bundle).name} holds no float variant to hold {variant.name} against",
                "give --source with the model that it was made from, or export it with --keep all",
            )
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="edgekit-diagnose-")))
        bench = Workbench(_export_plan(plan, manifest, variant, folder), progress, folder, stack)
        bench.take_in()
        if not bench.material.evaluation:
            raise UsageError(
                f"{plan.data} has no labels, and without them nobody can tell which specification is right",
                "give --data with labels, one folder a class",
            )
        if not bench.material.calibration and variant.recipe:
            raise UsageError(
                f"{plan.data} has no training samples to quantize anew with", "give --calibration-data besides"
            )
        bench.lower()
        yield Case(plan, bundle, variant, bench)


def _looked_at(bundle: Bundle, wanted: str | None) -> Variant:
    """The variant of the diagnosis: the one that ships, or what was quantized where the float file ships in its place.

    Raises:
        UsageError: It is plain code, or compiled for an accelerator.
    """
    manifest = bundle.manifest
    variant = manifest.variant(wanted)
    if wanted is None and not variant.recipe:
        variant = next((v for v in manifest.variants if v.recipe and v.format in FORMATS), variant)
    if variant.format in FORMATS:
        return variant
    others = [v.name for v in manifest.variants if v.format in FORMATS]
    if variant.format == "c":
        raise UsageError(
            f"{bundle.path.name} is plain code of a classic model, proven equal to its source when it was made",
            "where its answers are wrong, look at the data: edgekit eval",
        )
    raise UsageError(
        f"variant {variant.name} cannot be looked into", f"give --variant {others[0]}" if others else "export it again"
    )


def _export_plan(plan: DiagnosePlan, manifest: Manifest, variant: Variant, folder: Path) -> ExportPlan:
    """How the bundle would be made again, as it is."""
    specification = folder / "specification.json"
    specification.write_text(json.dumps(encode(manifest.specification)), "utf-8")
    labels = folder / "labels.txt"
    labels.write_text("".join(f"{name}\n" for name in manifest.labels), "utf-8")
    several = len(manifest.variants) > 1
    return ExportPlan(
        model=plan.source or plan.bundle,
        target=manifest.target,
        output=str(plan.repaired_path()),
        data=plan.data,
        label=plan.label,
        calibration_data=plan.calibration_data,
        preprocess=str(specification),
        format=variant.format,
        weights=plan.weights,
        input_shape=plan.input_shape,
        labels=str(labels) if manifest.labels else None,
        task=manifest.task if manifest.task != "none" else None,
        keep="all" if several else "chosen",
        limit=plan.limit,
        trust=plan.trust,
        overwrite=plan.overwrite,
    )


class Case:
    """A bundle under diagnosis. Every culprit that is found is mended at once: the next is measured on the rest.

    Attributes:
        plan: What was asked for.
        bundle: The bundle, open.
        manifest: What it says.
        variant: The variant that is looked at.
        bench: Where it is made anew.
        setting: As the bundle has it, with every culprit found so far mended.
        shipped: The variant as it is in the bundle, measured here.
        given: The float model behind the bundle's specification.
        current: What `setting` gives; the shipped variant as long as nothing was made anew.
        fresh: Whether `current` was made here.
        layers: The shipped variant's, worst first, after `look`.
    """

    def __init__(self, plan: DiagnosePlan, bundle: Bundle, variant: Variant, bench: Workbench) -> None:
        self.plan, self.bundle, self.variant, self.bench = plan, bundle, variant, bench
        self.manifest = bundle.manifest
        self.task = bench.material.task
        self.metric, self.sign = primary_metric(self.task)
        specification = bench.specification.to_data()
        self.setting = Setting(specification, tuple(dict(step) for step in variant.recipe))
        assert bench.baseline is not None  # noqa: S101 - there is labelled data
        self.given: Evaluation = bench.baseline
        self._floats = {_key(specification): self.given}
        self._made: dict[str, Evaluation] = {}
        self.shipped, self.ran = self._run_shipped()
        self.current = self.shipped
        self.fresh = False
        self.layers: tuple[Layer, ...] = ()
        self._errors: dict[str, tuple[LayerError, ...]] = {}

    # -- samples ---------------------------------------------------------------------------------------------------

    @property
    def samples(self) -> Sequence[Sample]:
        """What measures."""
        return self.bench.material.evaluation

    @cached_property
    def pool(self) -> Sequence[Sample]:
        """Labelled training samples, spread over the classes, that guesses are made on; else what measures."""
        dataset = self.bench.material.dataset
        train = dataset.split("train") if dataset else ()
        return pick(train, [s.group for s in train], _POOL) if train else self.samples[:_POOL]

    def info(self, role: str) -> DataInfo | None:
        """What the bundle says of a set of samples."""
        return next((d for d in self.manifest.data if d.role == role), None)

    # -- measuring -------------------------------------------------------------------------------------------------

    def value(self, evaluation: Evaluation) -> float:
        """Its primary metric."""
        return evaluation.metrics[self.metric]

    def gain(self, before: Evaluation, after: Evaluation) -> float:
        """How much better the second is."""
        return self.sign * (self.value(after) - self.value(before))

    def better(self, before: Evaluation, after: Evaluation) -> bool:
        """Whether the second is better by `GAIN` at least, and by more than chance would give."""
        gain = self.gain(before, after)
        if measured_by_answers(self.task):
            return gain >= _BY_ANSWERS_GAIN
        return gain >= GAIN and compare(before, after, self.task).real

    @property
    def floating(self) -> Evaluation:
        """The float model behind the specification as it is by now."""
        return self.floating_with(self.setting.specification)

    @property
    def gap(self) -> bool:
        """Whether what is current is still worse than the float model behind the same specification."""
        return self.better(self.current, self.floating)

    def floating_with(self, specification: SpecificationData) -> Evaluation:
        """The float model behind a specification, on what measures."""
        key = _key(specification)
        if key not in self._floats:
            self._floats[key] = self._run_source(specification, self.samples)
        return self._floats[key]

    def guess(self, specification: SpecificationData) -> float:
        """The primary metric of the float model behind a specification on `pool`; higher is better."""
        found = self._run_source(specification, self.pool)
        return self.sign * found.metrics[self.metric]

    def attempt(self, setting: Setting) -> Evaluation:
        """Make the variant anew and measure it on the interpreter that ships."""
        key = _key(setting)
        if key not in self._made:
            found = self.ship(setting).evaluation
            assert found is not None  # noqa: S101 - there is labelled data
            self._made[key] = found
        return self._made[key]

    def tried(self, setting: Setting) -> Evaluation | None:
        """`attempt`, or None where the quantizer or the target refuses this very recipe."""
        try:
            return self.attempt(setting)
        except ConversionError:
            return None

    def ship(self, setting: Setting) -> VariantResult:
        """Make the variant of a setting, whether it was made before or not, and measure it."""
        self._specify(setting.specification)
        return self.bench.attempt(setting.recipe)

    def refresh(self) -> None:
        """Make what is current here, with quantization calibration by the data's training split, if it was not yet."""
        made = None if self.fresh else self.tried(self.setting)
        if made is not None:
            self.current, self.fresh = made, True

    def judged(self, finding: Finding, fix: Fix | None) -> Finding:
        """A suspect with what its fix gives back; where that is real the fix stays made.

        Args:
            finding: The suspect.
            fix: What would mend it.
        """
        if fix is None:
            return finding
        setting = fix.on(self.setting)
        command = self.plan.command(finding.kind)
        if fix.specification is not None:
            before, after = self.floating, self.floating_with(fix.specification)
        else:
            made = self.tried(setting)
            if made is None:
                return finding
            before, after = self.current, made
        gain, real = self.gain(before, after), self.better(before, after)
        if real:
            self.setting = setting
            if fix.specification is None:
                self.current, self.fresh = after, True
            else:
                self.fresh = False
                self.refresh()
        return replace(finding, explains=gain, real=real, fix=fix, command=command if real else "")

    def best(self, finding: Finding, fixes: Sequence[Fix]) -> Finding:
        """A suspect with the first fix that closes the gap, else with the one that gives back most; then as `judged`.

        Args:
            finding: The suspect; what each fix gives is added to its evidence.
            fixes: From the cheapest to the dearest.
        """
        tried: list[tuple[Fix, float]] = []
        for fix in fixes:
            after = self.tried(fix.on(self.setting))
            if after is None:
                continue
            tried.append((fix, self.gain(self.current, after)))
            if self.gain(after, self.floating) <= GAIN:
                break
        if not tried:
            return finding
        evidence = {**finding.evidence, "tried": {fix.name: round(gain, 4) for fix, gain in tried}}
        return self.judged(replace(finding, evidence=evidence), max(tried, key=lambda one: one[1])[0])

    # -- layers ----------------------------------------------------------------------------------------------------

    def knows(self, setting: str) -> bool:
        """Whether the pass that quantizes has a setting of that name."""
        if not self.setting.recipe:
            return False
        kind = pass_class(str(self.setting.recipe[-1]["pass"]))
        return is_dataclass(kind) and any(f.name == setting for f in fields(kind))

    def excluding(self, names: Sequence[str]) -> Recipe:
        """The recipe with layers, named as `LayerError.name`, left in float besides those that are."""
        before = tuple(self.setting.recipe[-1].get("exclude", ()))
        more = keep_in_float(self.variant.format, names)
        return with_settings(self.setting.recipe, exclude=tuple(dict.fromkeys([*before, *more])))

    def look(self) -> None:
        """Hold the shipped variant against the float model, layer by layer."""
        if not self.variant.recipe:
            return
        folder = self.bench.folder / "shipped"
        folder.mkdir()
        path = self.bundle.extract(self.variant.file, folder)
        shipped = Converted(
            path, self.variant.format, self.variant.precision, self.variant.inputs, self.variant.outputs
        )
        with self.bench.progress.stage("layers", f"{self.variant.name} against the float model") as stage:
            errors = self._layer_errors(shipped, self.setting)
            stage.note = f"{len(errors)} layers on {len(self._looked_through)} samples"
        self.layers = tuple(sorted(map(layer_of, errors), key=lambda one: one.sqnr_db))

    def errors_now(self) -> tuple[LayerError, ...]:
        """Of the variant that `setting` gives, each layer by itself too."""
        key = _key(self.setting)
        if key not in self._errors:
            self._specify(self.setting.specification)
            made, _ = self.bench.make(self.setting.recipe)
            self._errors[key] = self._layer_errors(made, self.setting, alone=True)
        return self._errors[key]

    @cached_property
    def _looked_through(self) -> Sequence[Sample]:
        """Samples that layers are looked at with: not those that calibrated, which no range cuts off."""
        return pick(self.samples, [s.group for s in self.samples], _LOOKED_AT)

    def _layer_errors(self, quantized: Converted, setting: Setting, *, alone: bool = False) -> tuple[LayerError, ...]:
        """Held against the float model, as the passes before the one that quantizes left it."""
        self._specify(setting.specification)
        floating = apply_recipe(setting.recipe[:-1], self.bench.floating, self.bench.context())
        given = [feeds(self.bench.specification, self.bench.source.inputs, [s]) for s in self._looked_through]
        return layer_errors(floating, quantized, given, alone=alone)

    def _specify(self, specification: SpecificationData) -> None:
        """Have the workbench work behind another specification."""
        self.bench.baseline = self.floating_with(specification)
        self.bench.specification = Specification.from_data(specification, self.bench.specification.files)

    def _run_source(self, specification: SpecificationData, samples: Sequence[Sample]) -> Evaluation:
        made = Specification.from_data(specification, self.bench.specification.files)
        labels = self.bench.material.labels
        give = made.postprocess if measured_by_answers(self.task) else made.scores
        each = source_outputs(self.bench.source, made, samples, labels)
        return evaluate([give(outputs, context) for outputs, context in each], samples, self.task, labels)

    def _run_shipped(self) -> tuple[Evaluation, str]:
        """The variant as it is in the bundle, and what ran it."""
        with Runtime.open(self.bundle, variant=self.variant.name) as runtime:
            ran = f"{runtime.backend.name} {runtime.backend.version()}"
            with self.bench.progress.stage("evaluate", f"{self.variant.name} of the bundle on {ran}") as stage:
                give: Any = runtime if measured_by_answers(self.task) else runtime.scores
                answers = [give(s.load()) for s in stage.track(self.samples, len(self.samples))]
                found = evaluate(answers, self.samples, self.task, self.bench.material.labels)
                stage.note = f"{self.metric} {self.value(found):.4f} on {found.samples} samples"
        return found, ran


def layer_of(error: LayerError) -> Layer:
    """As a diagnosis shows it."""
    return Layer(
        error.name, error.op, error.sqnr_db, error.cosine, error.low, error.high, error.saturated, error.dead
    )  # fmt: skip


def with_settings(recipe: Recipe, **changes: Any) -> Recipe:
    """A recipe with settings of its last pass changed: the one that quantizes."""
    return (*recipe[:-1], {**recipe[-1], **changes})


def _key(value: Any) -> str:
    return json.dumps(encode(value), sort_keys=True)
