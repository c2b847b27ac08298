"""What export, compress and diagnose share: a model and its data taken in, lowered, and a recipe tried on it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.assemble import Assembly, member_of
from edgekit.choosing import HALF, VALIDATION, Chooser
from edgekit.classic import classic_specification, fit_material, text_specification
from edgekit.compiling import workstation_backend
from edgekit.data import Sample
from edgekit.evaluate import Evaluation
from edgekit.evaluate.judge import Agreement, Judge, Labelled
from edgekit.feeding import feeds, random_probes, source_outputs, user_probes
from edgekit.fit import misfits
from edgekit.material import Material, gather
from edgekit.plan import ExportPlan
from edgekit.progress import Progress, Stage
from edgekit.result import VariantResult
from edgekit.runs import of_run
from edgekit.specify import answer_steps, specification_for
from edgekit.targets import Target, resolve_target
from edgekit_converters.errors import ConversionError, NoConversion, UsageError
from edgekit_converters.fidelity import compare
from edgekit_converters.passes import apply_recipe, format_name
from edgekit_converters.plaincode.prove import prove
from edgekit_converters.quiet import quiet
from edgekit_converters.recipe import Converted, Feeds, PassContext
from edgekit_converters.registry import conversion, load_source, source_kinds
from edgekit_converters.source import Source, SourceRequest
from edgekit_converters.sources.classic import ClassicSource
from edgekit_runtime.backends import choose as choose_backend
from edgekit_runtime.backends.plain import PlainSession
from edgekit_runtime.manifest import Variant
from edgekit_runtime.runtime import Runtime
from edgekit_runtime.specification import Specification

Steps = tuple[Mapping[str, Any], ...]
"""Passes of a recipe, or steps of a specification, as plain data."""
_PROVED = 10_000  # of the user's rows that plain code is run on


@contextmanager
def workbench(plan: ExportPlan, progress: Progress | None = None) -> Iterator[Workbench]:
    """A workbench with everything taken in, measured and lowered, in a temporary folder that goes with it.

    Raises:
        EdgekitError: As `Workbench.take_in` and `Workbench.lower`.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgekit-")))
        bench = Workbench(plan, progress or Progress(), folder, stack)
        bench.take_in()
        bench.lower()
        yield bench


class Workbench:
    """A model, its data and a target; `take_in` and `lower`, in this order, before anything is tried.

    Attributes:
        plan: What was asked for, its target resolved.
        progress: Hears of every stage.
        folder: Where files are made.
        stack: Closes what was opened.
        target: The device.
        material: The samples, after `take_in`.
        source: The model as it was loaded, after `take_in`.
        specification: Pre- and post-processing, after `take_in`; its output steps are settled by `lower`.
        agreement: Whether the source's own answers are the measure where there are no labels.
        judge: What variants are held to, after `lower`; None where there is nothing to hold them to.
        baseline: The source's own evaluation, after `lower`; None where there is no judge.
        chooses: Whether recipes are chosen by samples of their own where the data has some.
        chooser: Those samples with the source on them, after `lower`; None where the judge's choose.
        floating: The model in the target's format before any recipe, after `lower`.
        fidelity: How near `floating` is to the source.
        warnings: What the user heard and whoever reads the bundle shall hear.
        made: Variant name to its file.
        twins: Name of what is compiled for an accelerator to the variant that runs here in its place.
    """

    material: Material
    source: Source
    specification: Specification
    baseline: Evaluation | None = None
    judge: Judge | None = None
    chooser: Chooser | None = None
    floating: Converted
    fidelity: dict[str, float]

    def __init__(
        self,
        plan: ExportPlan,
        progress: Progress,
        folder: Path,
        stack: ExitStack,
        *,
        agreement: bool = False,
        chooses: bool = False,
    ) -> None:
        resolved = resolve_target(plan.target)
        self.plan = replace(of_run(plan), target=resolved.target.name)
        self.progress, self.folder, self.stack = progress, folder, stack
        self.agreement, self.chooses = agreement, chooses
        self.target: Target = resolved.target
        self.warnings: list[str] = []
        self.made: dict[str, Converted] = {}
        self.twins: dict[str, Variant] = {}
        if resolved.said:
            progress.say(resolved.said)

    def take_in(self) -> None:
        """Gather the samples, load the source, settle the specification.

        Raises:
            DataError: The data set cannot be used.
            UsageError: The plan does not fit the data or the model.
        """
        self.material = self._gather()
        self.source = self._load()
        self.specification = self._specify()

    def lower(self) -> None:
        """Measure the source and bring it into the target's format.

        Raises:
            UsageError: The target does not run the format that was asked for.
            ConversionError: The conversion failed, or does not do what the source does.
        """
        format_ = self._format()
        self.baseline = self._evaluate_source()
        self.floating = self._convert(format_)

    def resume(
        self,
        floating: Converted,
        fidelity: dict[str, float],
        baseline: Evaluation | None,
        output: Steps,
        chosen_by: Evaluation | None = None,
    ) -> None:
        """Take over what `lower` came to in an earlier run, in its place.

        Args:
            floating: The float model.
            fidelity: How near it is to the source.
            baseline: The source's evaluation.
            output: The output steps that were settled.
            chosen_by: The source's evaluation on the samples that choose, where there are labels.
        """
        data = replace(self.specification.to_data(), output=output)
        self.specification = Specification.from_data(data, self.specification.files)
        self.floating, self.fidelity, self.baseline = floating, fidelity, baseline
        if self.material.evaluation:
            self.judge = self._labelled(self.material.evaluation)
            if chosen_by is not None:
                self.chooser = Chooser(VALIDATION, self._labelled(self.material.choosing), chosen_by)
        elif baseline is not None:
            self.baseline = self._ask_source()  # its answers are the measure, and are not kept

    def attempt(self, recipe: Steps, name: str | None = None) -> VariantResult:
        """Apply a recipe to the float model and measure the result on the interpreter that ships.

        Args:
            recipe: Passes as plain data; empty for the float model itself.
            name: Tells it from other variants of the same precision; None where it is the only one.

        Raises:
            ConversionError: A pass failed, the result is broken, or it does not fit the target.
            UsageError: The recipe does not fit the model, or needs calibration samples that there are not.
        """
        model, fidelity = self.make(recipe, name)
        if why := misfits(model, self.target):
            raise ConversionError(f"{model.name} does not fit {self.target.name}: {'; '.join(why)}")
        self.made[model.name] = model
        return self.measure(VariantResult(self.described(model, fidelity), model.bytes))

    def make(self, recipe: Steps, name: str | None = None) -> tuple[Converted, dict[str, float]]:
        """The float model after a recipe, and how near it is to the source; see `attempt`."""
        if not recipe:
            return self.floating, self.fidelity
        model = apply_recipe(recipe, self.floating, self.context(name or ""))
        if name:
            model = replace(model, tag=name)
        return model, self.compare(model)

    def context(self, name: str = "") -> PassContext:
        """What passes may use.

        Args:
            name: Of a folder for their files, where several recipes make files of the same name.
        """
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        samples = self.calibration_feeds if self.material.calibration else None
        return PassContext(self.target.limits, folder, samples)

    def mind(self, remark: str) -> None:
        """Tell the user, and whoever reads the bundle later."""
        self.warnings.append(remark)
        self.progress.say(remark)

    def assembly(self) -> Assembly:
        """What is known of the bundle."""
        return Assembly(self.plan.model_name(), self.target.name, self.source, self.specification, self.material)

    def open(self, variant: Variant) -> Runtime:
        """The variant on the first of its interpreters that is installed here."""
        runs = self.twins.get(variant.name, variant)
        chosen = workstation_backend(runs.backends)
        with quiet():
            session = chosen.open(self.made[runs.name].runnable.read_bytes())
        draft = self.assembly().draft((variant,), variant.name)
        return Runtime(draft, variant, chosen, session, self.specification.files)

    def measure(self, result: VariantResult) -> VariantResult:
        """A variant with its metrics, where there is something to hold it to."""
        judge, source = self.judge, self.baseline
        if judge is None or source is None:
            return result
        with self.open(result.variant) as runtime:
            interpreter = f"{runtime.backend.name} {runtime.backend.version()}"
            with self.progress.stage("evaluate", f"{result.variant.name} on {interpreter}") as stage:
                choosing = self.chooser.judge.samples if self.chooser else ()
                give, every = runtime if judge.by_answers else runtime.scores, (*choosing, *judge.samples)
                answers = [give(s.load()) for s in stage.track(every, len(every))]
                trial = self.chooser.trial(answers[: len(choosing)]) if self.chooser else None
                measured = judge.measure(answers[len(choosing) :])
                stage.note = headline(measured)
        variant = replace(result.variant, metrics=measured.metrics, measured_with=interpreter)
        return VariantResult(variant, result.bytes, judge.drop(source, measured), measured, trial)

    def calibration_feeds(self) -> Iterator[Feeds]:
        """Model inputs of the quantization calibration samples, batch of 1."""
        return (feeds(self.specification, self.source.inputs, [s]) for s in self.material.calibration)

    def described(self, model: Converted, fidelity: dict[str, float]) -> Variant:
        """A model file as the manifest has it, before it is measured."""
        return Variant(
            name=model.name,
            format=model.format,
            precision=model.precision,
            file=member_of(model, model.path),
            inputs=model.inputs,
            outputs=model.outputs,
            backends=self.target.backends[model.format],
            recipe=model.recipe,
            fidelity=fidelity,
            builds={name: member_of(model, path) for name, path in model.builds.items()},
            sizes=model.sizes,
        )

    # -- what goes in ----------------------------------------------------------------------------------------------

    def _gather(self) -> Material:
        origin = self.plan.data or self.plan.calibration_data
        if origin is None:
            return gather(self.plan)
        with self.progress.stage("data", origin) as stage:
            material = gather(self.plan)
            what = "to evaluate" if material.evaluation else "to compare with the source"
            stage.note = f"{len(material.probes)} {what}, {len(material.calibration)} to calibrate"
        for remark in material.remarks:
            self.progress.say(remark)
        return material

    def _load(self) -> Source:
        shapes = {"": self.plan.input_shape} if self.plan.input_shape else {}
        weights = Path(self.plan.weights) if self.plan.weights else None
        with self.progress.stage("load", self.plan.model) as stage:
            source = load_source(SourceRequest(self.plan.model, weights, shapes, self.plan.trust))
            self.stack.callback(source.close)
            stage.note = source.framework
        return source

    def _specify(self) -> Specification:
        if isinstance(self.source, ClassicSource) and self.plan.preprocess is None:
            self.material = fit_material(self.material, self.source, self.plan.task)
            return classic_specification(self.material, self.source, self.plan.text)
        if self.source.specification is not None and self.plan.preprocess is None:
            self.material = fit_material(self.material, self.source, self.plan.task)
            return text_specification(self.material, self.source, self.plan.text)
        return specification_for(self.plan.preprocess, self.material.kind, self.material.columns, self.source.inputs)

    def _format(self) -> str:
        row = source_kinds()[self.source.framework].conversions()
        wanted = format_name(self.plan.format) if self.plan.format else None
        allowed = self.target.limits.formats
        if wanted is not None and wanted not in allowed:
            raise UsageError(f"{self.target.name} does not run {wanted}", f"it runs {', '.join(allowed)}")
        if self.plan.unpack and wanted not in (None, "c"):
            raise UsageError(f"--unpack writes plain code, not {wanted}", "give --format c, or leave it out")
        able = [name for name in ((wanted,) if wanted else allowed) if name in row]
        for name in able:
            if name == able[-1] or not (why := self.source.refuses(name)):
                return name
            self.mind(f"no {name} for this model: {why}")
        conversion(self.source.framework, wanted or allowed[0])  # raises with the ways round it
        raise NoConversion(f"a {self.source.framework} model cannot reach {self.target.name}", "")

    # -- the source ------------------------------------------------------------------------------------------------

    def _evaluate_source(self) -> Evaluation | None:
        samples, task = self.material.evaluation, self.material.task
        if not samples and self.agreement and self.material.unlabelled:
            return self._ask_source()
        if not samples:
            self.warnings.append("accuracy was not measured: there was no labelled data")
            self.progress.say("accuracy is not measured: give labelled --data to know it")
            if task != "none":
                self._settle_answer([{n: v[0] for n, v in self.source.run(f).items()} for f in self.probes(False)])
            return None
        judge = self.judge = self._labelled(samples)
        choosing = self.material.choosing if self.chooses else ()
        with self.progress.stage("evaluate", f"source ({self.source.framework})") as stage:
            answers = self._source_answers((*choosing, *samples), judge.by_answers, stage)
            if choosing:
                own = self._labelled(choosing)
                self.chooser = Chooser(VALIDATION, own, own.measure(answers[: len(choosing)]))
            result = judge.measure(answers[len(choosing) :])
            stage.note = headline(result)
        return result

    def _labelled(self, samples: Sequence[Sample]) -> Labelled:
        return Labelled(samples, self.material.task, self.material.labels)

    def _ask_source(self) -> Evaluation:
        """Without labels the source's answers stand for the truth."""
        choosing, samples = self.material.halves if self.chooses else ((), self.material.unlabelled)
        task = self.material.task
        self.mind("there are no labels: variants are held to the source's own answers, and accuracy is not measured")
        with self.progress.stage("ask", f"source ({self.source.framework})") as stage:
            every = self._source_answers((*choosing, *samples), task != "classification", stage)
            asked, answers = every[: len(choosing)], every[len(choosing) :]
            judge = self.judge = Agreement.with_source(samples, task, answers)
            if choosing:
                own = Agreement(choosing, judge.kind, asked)
                self.chooser = Chooser(HALF, own, own.measure(asked))
            result = judge.measure(answers)
            stage.note = f"{len(samples)} samples, compared as {judge.kind}"
        return result

    def _source_answers(self, samples: Sequence[Sample], whole: bool, stage: Stage) -> list[Any]:
        """Scores or whole answers of the source; settles the output steps."""
        each = source_outputs(self.source, self.specification, samples, self.material.labels)
        found = list(stage.track(each, len(samples)))
        self._settle_answer([outputs for outputs, _ in found])
        give = self.specification.postprocess if whole else self.specification.scores
        return [give(o, context) for o, context in found]

    def _settle_answer(self, outputs: list[dict[str, np.ndarray]]) -> None:
        """Output steps for the task after a look at what the source gives, unless the user gave some."""
        if not self.specification.output:
            first = np.stack([next(iter(o.values())) for o in outputs])
            data = replace(self.specification.to_data(), output=answer_steps(self.material.task, first))
            self.specification = Specification.from_data(data, self.specification.files)

    # -- the float model -------------------------------------------------------------------------------------------

    def _convert(self, format_: str) -> Converted:
        lower = conversion(self.source.framework, format_)
        limits = replace(self.target.limits, code=self.plan.code(self.target.limits.code))
        with self.progress.stage("convert", f"{self.source.framework} → {format_}") as stage:
            model = lower(self.source, self.folder, limits)
            stage.file = model.path
            stage.note = ", ".join(f"{k} {v}" for k, v in list(model.tools.items())[:2])
            if model.sizes:
                stage.note = "code and tables: " + ", ".join(f"{k} {v:,} bytes" for k, v in model.sizes.items())
            if format_ != "c":
                self.fidelity = self.compare(model)
                self._warn_of_gaps()
        if format_ == "c":
            self.fidelity = self._prove(model)
        return model

    def _warn_of_gaps(self) -> None:
        """Converters to ONNX are known to get missing values wrong, and only what was tried is known to be right."""
        source = self.source
        if not isinstance(source, ClassicSource) or not any(f.missing for f in source.features):
            return
        if not source.traps(user_probes(source, self.specification, self.material.probes)):
            self.mind("the ONNX model was not tried on missing values, of which the data has none: --format c is")

    def _prove(self, model: Converted) -> dict[str, float]:
        """Run compiled code and its source on all that there is, and on rows made to tell them apart."""
        assert isinstance(self.source, ClassicSource)  # noqa: S101 - only they become plain code
        with self.progress.stage("prove", f"{model.name} against {self.source.name}") as stage:
            given = list(self.material.probes[:_PROVED])
            rows = feeds(self.specification, self.source.inputs, given) if given else None
            some = [next(iter(f.values())) for f in random_probes(self.source)]
            tried = np.concatenate([*(rows or {}).values(), *some])
            session = choose_backend(self.target.backends["c"]).open(model.runnable.read_bytes())
            assert isinstance(session, PlainSession)  # noqa: S101 - what opens plain code
            try:
                proof = prove(self.source, session, model.precision, tried)
            finally:
                session.close()
            stage.note = proof.in_words()
        return proof.as_dict()

    def probes(self, quantized: bool) -> list[Feeds]:
        """Inputs to compare outputs with the source's on: the user's own, and random ones too where no accuracy guards.

        Not for quantized models, whose ranges are the user's inputs': noise outside of them would say nothing.
        """
        user = user_probes(self.source, self.specification, self.material.probes)
        if user and (quantized or self.material.evaluation):
            return [*user, *self.source.traps(user)]
        found = [*user, *random_probes(self.source)]
        return [*found, *self.source.traps(found)]

    def compare(self, model: Converted) -> dict[str, float]:
        """How near a model file is to the source, on a few inputs.

        Raises:
            ConversionError: It is broken, or is float and differs.
        """
        strict = model.precision == "fp32"
        return compare(self.source, model, self.probes(not strict), strict=strict).as_dict()


def headline(evaluation: Evaluation) -> str:
    """Its first metric in words."""
    name, value = next(iter(evaluation.metrics.items()))
    return f"{name} {value:.4f} on {evaluation.samples} samples"
