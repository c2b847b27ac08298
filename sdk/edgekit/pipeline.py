"""Source → recipe → variants → evaluate → bundle: the only place that knows the order."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgekit import __version__
from edgekit.assemble import Assembly, member_of
from edgekit.classic import classic_specification, fit_material
from edgekit.compiling import compiled, require_compiler, workstation_backend
from edgekit.contract import Candidate, Choice, choose, holds
from edgekit.evaluate import Evaluation, evaluate, measured_by_answers, primary_metric
from edgekit.feeding import feeds, random_probes, source_outputs, user_probes
from edgekit.fit import misfits
from edgekit.licences import read_licences
from edgekit.material import Material, gather
from edgekit.plan import ExportPlan
from edgekit.progress import Progress
from edgekit.result import ExportResult, VariantResult
from edgekit.runs import of_run
from edgekit.specify import answer_steps, specification_for
from edgekit.targets import Target, resolve_target
from edgekit_converters.errors import ConversionError, NoConversion, UsageError
from edgekit_converters.fidelity import compare
from edgekit_converters.passes import apply_recipe, format_name, precision_name, recipe_for
from edgekit_converters.placement import Placement
from edgekit_converters.plaincode.artefact import LIBRARY
from edgekit_converters.plaincode.emitter import EmitSettings, emitter
from edgekit_converters.plaincode.emitters.c import arduino_library
from edgekit_converters.plaincode.prove import prove
from edgekit_converters.quiet import quiet
from edgekit_converters.recipe import Converted, Feeds, PassContext
from edgekit_converters.registry import conversion, load_source, source_kinds
from edgekit_converters.source import Source, SourceRequest
from edgekit_converters.sources.classic import ClassicSource
from edgekit_runtime import Bundle
from edgekit_runtime.backends import choose as choose_backend
from edgekit_runtime.backends.plain import PlainSession
from edgekit_runtime.bundle import write_bundle
from edgekit_runtime.manifest import Manifest, Variant
from edgekit_runtime.runtime import Runtime
from edgekit_runtime.selftest import selftest
from edgekit_runtime.specification import Specification

_PROVED = 10_000  # of the user's rows that plain code is run on


def export(plan: ExportPlan, progress: Progress | None = None) -> ExportResult:
    """Export a model to a verified bundle.

    Args:
        plan: What to export.
        progress: Hears of every stage.

    Raises:
        UsageError: The plan cannot work; nothing was written.
        ConversionError: A converter failed, its result does not do what the source does, or does not fit the target.
        DataError: The data set cannot be used.
        BundleError: The bundle cannot be written.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgekit-")))
        return _Export(of_run(plan), progress or Progress(), folder, stack).run()


class _Export:
    """One export under way; its methods are the stages, in order."""

    material: Material
    source: Source
    specification: Specification
    fidelity: dict[str, float]
    written: dict[str, bytes]

    def __init__(self, plan: ExportPlan, progress: Progress, folder: Path, stack: ExitStack) -> None:
        resolved = resolve_target(plan.target)
        self.plan, self.progress, self.folder, self.stack = plan, progress, folder, stack
        self.target: Target = resolved.target
        self.warnings: list[str] = []
        self.made: dict[str, Converted] = {}
        self.twins: dict[str, Variant] = {}  # of what is compiled for an accelerator: what runs here
        if resolved.said:
            progress.say(resolved.said)

    def run(self) -> ExportResult:
        plan = self.plan = replace(self.plan, target=self.target.name)
        plan.check_free()
        plan.check_unpack()
        plan.code(self.target.limits.code)
        self._check_gates()
        precision_name(plan.quantize)  # a mistyped word is said before any work
        licences, notes = read_licences(plan.licences)
        self.material = self._gather()
        self.source = self._load()
        self.specification = self._specify()
        self.written = self._written()
        format_ = self._format()
        source = self._evaluate_source()
        floating = self._convert(format_)
        results = [self._held(self._measure(r, source)) for r in self._variants(floating)]
        choice = self._choose(results)
        results, choice, placement = self._compile(results, choice)
        kept = [r for r in results if plan.keep == "all" or r.variant.name in self._shipped(choice)]
        manifest, members = self._assembly().finish(kept, choice, self.made, source, self._open, self.progress)
        manifest = manifest.replace(notes=notes, warnings=tuple(self.warnings))
        manifest, digest = self._bundle(manifest, {**members, **licences})
        if plan.unpack:
            self._unpack(Path(plan.unpack), self.made[choice.name])
        return ExportResult(
            plan.bundle_path(), digest, manifest, source, tuple(results), choice, self.progress.done, placement,
            self.material.evaluation,
        )  # fmt: skip

    def _check_gates(self) -> None:
        asked = self.plan.min_offload is not None or self.plan.require_accelerator
        if asked and not self.target.placement:
            raise UsageError(f"where operators run on {self.target.name} is not known",
                             "leave --min-offload and --require-accelerator out")  # fmt: skip
        if self.plan.require_compiled:
            require_compiler(self.target)

    def _mind(self, remark: str) -> None:
        """Tell the user, and whoever reads the bundle later."""
        self.warnings.append(remark)
        self.progress.say(remark)

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
        return specification_for(self.plan.preprocess, self.material.kind, self.material.columns, self.source.inputs)

    def _written(self) -> dict[str, bytes]:
        """The model in another language than C, made before any work since not every language can say every model.

        The proof is of the C; this is written from the same program.
        """
        if self.plan.language == "c":
            return {}
        language = emitter(self.plan.language)
        if not isinstance(self.source, ClassicSource):
            raise UsageError(f"a {self.source.framework} model has no plain code", "leave --language out")
        if why := self.source.refuses("c") or language.refuses(self.source.program):
            raise UsageError(f"{self.source.name} cannot be written in {language.title}: {why}",
                             "leave --language out for C")  # fmt: skip
        settings = EmitSettings(prefix=self.plan.prefix or "model")
        return {name: text.encode() for name, text in language.emit(self.source.program, settings).items()}

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
            self._mind(f"no {name} for this model: {why}")
        conversion(self.source.framework, wanted or allowed[0])  # raises with the ways round it
        raise NoConversion(f"a {self.source.framework} model cannot reach {self.target.name}", "")

    # -- the source ------------------------------------------------------------------------------------------------

    def _evaluate_source(self) -> Evaluation | None:
        samples, task = self.material.evaluation, self.material.task
        if not samples:
            self.warnings.append("accuracy was not measured: there was no labelled data")
            self.progress.say("accuracy is not measured: give labelled --data to know it")
            if task != "none":
                self._settle_answer([{n: v[0] for n, v in self.source.run(f).items()} for f in self._probes(False)])
            return None
        with self.progress.stage("evaluate", f"source ({self.source.framework})") as stage:
            each = source_outputs(self.source, self.specification, samples, self.material.labels)
            found = list(stage.track(each, len(samples)))
            self._settle_answer([outputs for outputs, _ in found])
            specification = self.specification
            give = specification.postprocess if measured_by_answers(task) else specification.scores
            result = evaluate([give(o, context) for o, context in found], samples, task, self.material.labels)
            stage.note = _headline(result)
        return result

    def _settle_answer(self, outputs: list[dict[str, np.ndarray]]) -> None:
        """Output steps for the task after a look at what the source gives, unless the user gave some."""
        if not self.specification.output:
            first = np.stack([next(iter(o.values())) for o in outputs])
            data = replace(self.specification.to_data(), output=answer_steps(self.material.task, first))
            self.specification = Specification.from_data(data, self.specification.files)

    # -- variants --------------------------------------------------------------------------------------------------

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
                self.fidelity = self._compare(model)
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
            self._mind("the ONNX model was not tried on missing values, of which the data has none: --format c is")

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

    def _probes(self, quantized: bool) -> list[Feeds]:
        """Inputs to compare outputs with the source's on: the user's own, and random ones too where no accuracy guards.

        Not for quantized models, whose ranges are the user's inputs': noise outside of them would say nothing.
        """
        user = user_probes(self.source, self.specification, self.material.probes)
        if user and (quantized or self.material.evaluation):
            return [*user, *self.source.traps(user)]
        found = [*user, *random_probes(self.source)]
        return [*found, *self.source.traps(found)]

    def _compare(self, model: Converted) -> dict[str, float]:
        strict = model.precision == "fp32"
        return compare(self.source, model, self._probes(not strict), strict=strict).as_dict()

    def _precisions(self, floating: Converted) -> list[str]:
        asked = precision_name(self.plan.quantize)
        if isinstance(self.source, ClassicSource):
            if asked in ("auto", floating.precision):
                return [floating.precision]
            raise UsageError(
                f"a classic model in {floating.format} cannot become {asked}", "give --leaves exact, float or fixed"
            )
        if floating.precision != "fp32" and asked in ("auto", floating.precision):
            return [floating.precision]
        if asked != "auto":
            return [asked] if asked == "fp32" or self.plan.max_drop is None else [asked, "fp32"]
        wanted = list(self.target.limits.precisions)
        if not self.material.calibration and "int8" in wanted:
            wanted.remove("int8")
            remark = "int8 needs samples for quantization calibration: give --data or --calibration-data"
            if not wanted:
                raise UsageError(f"{self.target.name} runs int8 only", remark)
            self._mind(remark)
        return wanted

    def _variants(self, floating: Converted) -> list[VariantResult]:
        """Those that fit the target, in its order of preference; what does not fit is left out aloud."""
        fitting, reasons = [], []
        for precision in self._precisions(floating):
            model, fidelity = self._variant(floating, precision)
            if why := misfits(model, self.target):
                reasons.append(f"{model.name} does not fit {self.target.name}: {'; '.join(why)}")
                self._mind(f"{reasons[-1]}; it is left out")
                continue
            self.made[model.name] = model
            fitting.append(VariantResult(self._described(model, fidelity), model.bytes))
        if not fitting:
            raise ConversionError("; ".join(reasons), "try another --quantize or --format, or a smaller model")
        return fitting

    def _variant(self, floating: Converted, precision: str) -> tuple[Converted, dict[str, float]]:
        if precision == floating.precision:
            return floating, self.fidelity
        if floating.precision != "fp32":
            raise UsageError(
                f"the model is {floating.precision} already and cannot become {precision}",
                "leave --quantize out, or give the float model",
            )
        recipe = recipe_for(precision, floating.format, self.target.limits)
        samples = self._calibration_feeds if self.material.calibration else None
        with self.progress.stage("quantize", precision) as stage:
            model = apply_recipe(recipe, floating, PassContext(self.target.limits, self.folder, samples))
            stage.file = model.path
            return model, self._compare(model)

    def _calibration_feeds(self) -> Iterator[Feeds]:
        return (feeds(self.specification, self.source.inputs, [s]) for s in self.material.calibration)

    def _described(self, model: Converted, fidelity: dict[str, float]) -> Variant:
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

    def _measure(self, result: VariantResult, source: Evaluation | None) -> VariantResult:
        if source is None:
            return result
        samples, task = self.material.evaluation, self.material.task
        with self._open(result.variant) as runtime:
            interpreter = f"{runtime.backend.name} {runtime.backend.version()}"
            with self.progress.stage("evaluate", f"{result.variant.name} on {interpreter}") as stage:
                give = runtime if measured_by_answers(task) else runtime.scores
                answers = [give(s.load()) for s in stage.track(samples, len(samples))]
                measured = evaluate(answers, samples, task, self.material.labels)
                stage.note = _headline(measured)
        metric, sign = primary_metric(task)
        drop = sign * (source.metrics[metric] - measured.metrics[metric])
        variant = replace(result.variant, metrics=measured.metrics, measured_with=interpreter)
        return VariantResult(variant, result.bytes, drop, measured)

    def _held(self, result: VariantResult) -> VariantResult:
        """Say whether a device may run it in place of the chosen one; a float file that was compared exactly may."""
        within = holds(result.drop, self.plan.max_drop) if result.drop is not None else None
        if within is None and result.variant.precision == "fp32":
            within = True
        return replace(result, variant=replace(result.variant, within=within))

    def _open(self, variant: Variant) -> Runtime:
        """The variant on the first of its interpreters that is installed here."""
        runs = self.twins.get(variant.name, variant)
        chosen = workstation_backend(runs.backends)
        with quiet():
            session = chosen.open(self.made[runs.name].runnable.read_bytes())
        draft = self._assembly().draft((variant,), variant.name)
        return Runtime(draft, variant, chosen, session, self.specification.files)

    def _choose(self, results: list[VariantResult]) -> Choice:
        choice = choose([Candidate(r.variant.name, r.drop) for r in results], self.plan.max_drop)
        if choice.remark:
            self._mind(choice.remark)
        return choice

    def _compile(
        self, results: list[VariantResult], choice: Choice
    ) -> tuple[list[VariantResult], Choice, Placement | None]:
        """The chosen variant compiled for the target's accelerator, where its compiler is here; it is chosen then."""
        twin = self.made[choice.name]
        result = next(r for r in results if r.variant.name == choice.name)
        if self.target.compiler is None or shutil.which(self.target.compiler.program) is None:
            if self.target.compiler is not None:
                line = self.target.compiler.command(twin.path.name)
                self._mind(f"predicted, not compiled: {twin.name} runs on the CPU until it is; to compile: {line}")
            return results, choice, self._place(twin)
        with self.progress.stage("compile", f"{twin.name}, {self.target.compiler.program}") as stage:
            found = compiled(self.target, result, twin, self.folder)
            assert found is not None  # noqa: S101 - its compiler is on PATH
            made, model, placement = found
            stage.file, stage.note = model.path, placement.in_words()
        for note in placement.notes:
            self.progress.say(note)
        self.made[model.name], self.twins[model.name] = model, result.variant
        return [made, *results], replace(choice, name=model.name), placement

    def _shipped(self, choice: Choice) -> tuple[str, ...]:
        twin = self.twins.get(choice.name)
        return (choice.name, twin.name) if twin else (choice.name,)

    def _place(self, model: Converted) -> Placement | None:
        placing = self.target.placement.get(model.format)
        if placing is None:
            return None
        with self.progress.stage("placement", model.name) as stage:
            placement = placing(model.path)
            stage.note = placement.in_words()
        return placement

    # -- what comes out --------------------------------------------------------------------------------------------

    def _assembly(self) -> Assembly:
        return Assembly(self.plan.model_name(), self.target.name, self.source, self.specification, self.material)

    def _bundle(self, manifest: Manifest, members: dict[str, bytes | Path]) -> tuple[Manifest, str]:
        path = self.plan.bundle_path()
        tested: list[Manifest] = []

        def prove(bundle: Bundle) -> None:
            chosen = bundle.manifest.variant()
            runs = self.twins.get(chosen.name, chosen)
            backend = workstation_backend(runs.backends).name
            selftest(bundle, variant=runs.name, backend=backend, trust=True).require()  # made here a moment ago
            tested.append(bundle.manifest)

        with self.progress.stage("bundle", f"edgekit {__version__}, self-tested on this machine") as stage:
            digest = write_bundle(path, manifest, members, overwrite=self.plan.overwrite, prove=prove)
            stage.file = path
        return tested[0], digest

    def _unpack(self, folder: Path, model: Converted) -> None:
        """Write plain code out, for a project of the user's own."""
        if model.format != "c":
            raise UsageError(f"--unpack writes plain code, and this model became {model.format}", "give --format c")
        title = emitter(self.plan.language).title
        with self.progress.stage("unpack", f"{title} to {folder}") as stage:
            folder.mkdir(parents=True, exist_ok=True)
            files = self.written or {p.name: p.read_bytes() for p in (model.path, *model.beside) if p.name != LIBRARY}
            if self.plan.arduino:
                texts = {name: content.decode() for name, content in files.items()}
                files = {n: t.encode() for n, t in arduino_library(texts, model.path.stem).items()}
            for name, content in files.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)
            stage.note = ", ".join(sorted(files))


def _headline(evaluation: Evaluation) -> str:
    name, value = next(iter(evaluation.metrics.items()))
    return f"{name} {value:.4f} on {evaluation.samples} samples"
