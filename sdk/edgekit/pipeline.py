"""Source → recipe → variants → evaluate → bundle: the only place that knows the order."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from edgekit.compiling import require_compiler
from edgekit.contract import Candidate, Choice, choose, holds
from edgekit.fit import misfits
from edgekit.licences import read_licences
from edgekit.plan import ExportPlan
from edgekit.progress import Progress
from edgekit.result import ExportResult, VariantResult
from edgekit.shipping import compile_chosen, ship
from edgekit.workbench import Workbench
from edgekit_converters.errors import ConversionError, UsageError
from edgekit_converters.passes import precision_name, recipe_for
from edgekit_converters.plaincode.artefact import LIBRARY
from edgekit_converters.plaincode.emitter import EmitSettings, emitter
from edgekit_converters.plaincode.emitters.c import arduino_library
from edgekit_converters.recipe import Converted
from edgekit_converters.sources.classic import ClassicSource


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
        return _Export(plan, progress or Progress(), folder, stack).run()


class _Export:
    """One export under way; its methods are the stages, in order."""

    written: dict[str, bytes]

    def __init__(self, plan: ExportPlan, progress: Progress, folder: Path, stack: ExitStack) -> None:
        self.bench = Workbench(plan, progress, folder, stack)
        self.plan, self.progress = self.bench.plan, progress

    def run(self) -> ExportResult:
        plan, bench = self.plan, self.bench
        plan.check_free()
        plan.check_unpack()
        plan.code(bench.target.limits.code)
        self._check_gates()
        precision_name(plan.quantize)  # a mistyped word is said before any work
        licences, notes = read_licences(plan.licences)
        bench.take_in()
        self.written = self._written()
        bench.lower()
        results = [self._held(bench.measure(r)) for r in self._variants(bench.floating)]
        choice = self._choose(results)
        results, choice, placement = compile_chosen(bench, results, choice)
        manifest, digest = ship(bench, results, choice, notes, licences)
        if plan.unpack:
            self._unpack(Path(plan.unpack), bench.made[choice.name])
        return ExportResult(
            plan.bundle_path(), digest, manifest, bench.baseline, tuple(results), choice, self.progress.done, placement,
            bench.material.evaluation,
        )  # fmt: skip

    def _check_gates(self) -> None:
        asked = self.plan.min_offload is not None or self.plan.require_accelerator
        if asked and not self.bench.target.placement:
            raise UsageError(f"where operators run on {self.bench.target.name} is not known",
                             "leave --min-offload and --require-accelerator out")  # fmt: skip
        if self.plan.require_compiled:
            require_compiler(self.bench.target)

    def _written(self) -> dict[str, bytes]:
        """The model in another language than C, made before any work since not every language can say every model.

        The proof is of the C; this is written from the same program.
        """
        if self.plan.language == "c":
            return {}
        language = emitter(self.plan.language)
        if not isinstance(self.bench.source, ClassicSource):
            raise UsageError(f"a {self.bench.source.framework} model has no plain code", "leave --language out")
        if why := self.bench.source.refuses("c") or language.refuses(self.bench.source.program):
            raise UsageError(f"{self.bench.source.name} cannot be written in {language.title}: {why}",
                             "leave --language out for C")  # fmt: skip
        settings = EmitSettings(prefix=self.plan.prefix or "model")
        return {name: text.encode() for name, text in language.emit(self.bench.source.program, settings).items()}

    # -- variants --------------------------------------------------------------------------------------------------

    def _precisions(self, floating: Converted) -> list[str]:
        asked = precision_name(self.plan.quantize)
        if isinstance(self.bench.source, ClassicSource):
            if asked in ("auto", floating.precision):
                return [floating.precision]
            raise UsageError(
                f"a classic model in {floating.format} cannot become {asked}", "give --leaves exact, float or fixed"
            )
        if floating.precision != "fp32" and asked in ("auto", floating.precision):
            return [floating.precision]
        if asked != "auto":
            return [asked] if asked == "fp32" or self.plan.max_drop is None else [asked, "fp32"]
        wanted = list(self.bench.target.limits.precisions)
        if not self.bench.material.calibration and "int8" in wanted:
            wanted.remove("int8")
            remark = "int8 needs samples for quantization calibration: give --data or --calibration-data"
            if not wanted:
                raise UsageError(f"{self.bench.target.name} runs int8 only", remark)
            self.bench.mind(remark)
        return wanted

    def _variants(self, floating: Converted) -> list[VariantResult]:
        """Those that fit the target, in its order of preference; what does not fit is left out aloud."""
        fitting, reasons = [], []
        for precision in self._precisions(floating):
            model, fidelity = self._variant(floating, precision)
            if why := misfits(model, self.bench.target):
                reasons.append(f"{model.name} does not fit {self.bench.target.name}: {'; '.join(why)}")
                self.bench.mind(f"{reasons[-1]}; it is left out")
                continue
            self.bench.made[model.name] = model
            fitting.append(VariantResult(self.bench.described(model, fidelity), model.bytes))
        if not fitting:
            raise ConversionError("; ".join(reasons), "try another --quantize or --format, or a smaller model")
        return fitting

    def _variant(self, floating: Converted, precision: str) -> tuple[Converted, dict[str, float]]:
        if precision == floating.precision:
            return self.bench.make(())
        if floating.precision != "fp32":
            raise UsageError(
                f"the model is {floating.precision} already and cannot become {precision}",
                "leave --quantize out, or give the float model",
            )
        recipe = recipe_for(precision, floating.format, self.bench.target.limits)
        told = tuple({**step, **self.plan.passes} for step in recipe)
        with self.progress.stage("quantize", precision) as stage:
            model, fidelity = self.bench.make(told)
            stage.file = model.path
        return model, fidelity

    def _held(self, result: VariantResult) -> VariantResult:
        """Say whether a device may run it in place of the chosen one; a float file that was compared exactly may."""
        within = holds(result.drop, self.plan.max_drop) if result.drop is not None else None
        if within is None and result.variant.precision == "fp32":
            within = True
        return replace(result, variant=replace(result.variant, within=within))

    def _choose(self, results: list[VariantResult]) -> Choice:
        choice = choose([Candidate(r.variant.name, r.drop) for r in results], self.plan.max_drop)
        if choice.remark:
            self.bench.mind(choice.remark)
        return choice

    # -- what comes out --------------------------------------------------------------------------------------------

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
