"""Source → recipe → variants → evaluate → bundle: the only place that knows the order."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit import __version__
from edgekit.contract import Candidate, Choice, choose
from edgekit.data import Dataset, Sample, open_dataset, overlap
from edgekit.errors import DataError
from edgekit.evaluate import Evaluation, evaluate, primary_metric
from edgekit.evaluate.reference import monitoring_reference
from edgekit.golden import COUNT, invent, pick, tolerances
from edgekit.plan import ExportPlan
from edgekit.progress import Progress, Stage
from edgekit.specify import answer_steps, specification_for
from edgekit.targets import Target, resolve_target
from edgekit_converters.errors import NoConversion, UsageError
from edgekit_converters.fidelity import compare, random_feeds
from edgekit_converters.passes import apply_recipe, format_name, precision_name, recipe_for
from edgekit_converters.recipe import Converted, Feeds, PassContext
from edgekit_converters.registry import conversion, load_source, source_kinds
from edgekit_converters.source import Source, SourceRequest
from edgekit_runtime import Bundle
from edgekit_runtime.backends import choose as choose_backend
from edgekit_runtime.bundle import write_bundle
from edgekit_runtime.manifest import (
    SCHEMA,
    DataInfo,
    Expectation,
    Golden,
    GoldenSample,
    Manifest,
    Monitoring,
    SourceInfo,
    Variant,
)
from edgekit_runtime.runtime import Runtime
from edgekit_runtime.samples import array_bytes, decode_raw, encode_raw
from edgekit_runtime.selftest import selftest
from edgekit_runtime.specification import Specification
from edgekit_runtime.specification.pictures import decode_picture
from edgekit_runtime.specification.step import Context

_BATCH = 32
_PROBES = 4


@dataclass(frozen=True)
class VariantResult:
    """A variant with everything that was measured of it here.

    Attributes:
        variant: As the manifest has it.
        bytes: File size.
        drop: Drop of the primary metric against the source, None where accuracy was not measured.
        evaluation: Its evaluation, None where there was no data.
    """

    variant: Variant
    bytes: int
    drop: float | None = None
    evaluation: Evaluation | None = None


@dataclass(frozen=True)
class ExportResult:
    """What an export made.

    Attributes:
        bundle: The file.
        digest: Its digest.
        manifest: What it says about itself.
        source: The source model's evaluation, None where there was no data.
        variants: Every variant that was made, in the target's order of preference.
        choice: Which one ships, and whether the contract holds.
        stages: What was done, in order.
    """

    bundle: Path
    digest: str
    manifest: Manifest
    source: Evaluation | None
    variants: tuple[VariantResult, ...]
    choice: Choice
    stages: tuple[Stage, ...]
    samples: tuple[Sample, ...] = field(default=(), repr=False)


def export(plan: ExportPlan, progress: Progress | None = None) -> ExportResult:
    """Export a model to a verified bundle.

    Args:
        plan: What to export.
        progress: Hears of every stage.

    Raises:
        UsageError: The plan cannot work; nothing was written.
        ConversionError: A converter failed, or its result does not do what the source does.
        DataError: The data set cannot be used.
        BundleError: The bundle cannot be written.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgekit-")))
        return _Export(plan, progress or Progress(), folder, stack).run()


class _Export:
    """One export under way; its methods are the stages, in order."""

    def __init__(self, plan: ExportPlan, progress: Progress, folder: Path, stack: ExitStack) -> None:
        self.plan, self.progress, self.folder, self.stack = plan, progress, folder, stack
        resolved = resolve_target(plan.target)
        self.target: Target = resolved.target
        self.warnings: list[str] = []
        self.files: dict[str, Converted] = {}
        self.task = plan.task or "none"
        if resolved.said:
            progress.say(resolved.said)

    def run(self) -> ExportResult:
        plan = replace(self.plan, target=self.target.name)
        path = plan.bundle_path()
        if path.exists() and not plan.overwrite:
            raise UsageError(f"{path} exists already", "give --overwrite or another --output")
        self.dataset = self._open_data()
        self.source = self._load()
        self.specification = self._specify()
        format_ = self._format()
        evaluation = self.dataset.split("test") if self.dataset else ()
        self.samples: tuple[Sample, ...] = tuple(evaluation[: plan.limit] if plan.limit else evaluation)
        calibration, calibration_info = self._calibration()
        source_evaluation = self._evaluate_source()
        floating = self._convert(format_)
        results = [
            self._variant(floating, precision, calibration) for precision in self._precisions(floating, calibration)
        ]
        results = [self._measure(r, source_evaluation) for r in results]
        choice = choose([Candidate(r.variant.name, r.drop) for r in results], plan.max_drop)
        if choice.remark:
            self.warnings.append(choice.remark)
            self.progress.say(choice.remark)
        manifest, members = self._assemble(results, choice, source_evaluation, calibration_info)
        with self.progress.stage("bundle", f"edgekit {__version__}") as stage:
            digest = write_bundle(path, manifest, members, overwrite=plan.overwrite)
            stage.file = path
        with self.progress.stage("self-test", "on this machine"), Bundle.open(path) as bundle:
            selftest(bundle).require()
            manifest = bundle.manifest
        return ExportResult(
            path, digest, manifest, source_evaluation, tuple(results), choice, self.progress.done, self.samples
        )

    # -- what goes in ----------------------------------------------------------------------------------------------

    def _open_data(self) -> Dataset | None:
        if self.plan.data is None:
            return None
        with self.progress.stage("data", self.plan.data) as stage:
            order = None
            if self.plan.labels:
                order = [
                    line.strip() for line in Path(self.plan.labels).read_text("utf-8").splitlines() if line.strip()
                ]
            dataset = open_dataset(self.plan.data, label=self.plan.label, labels_order=order)
            stage.note = f"{len(dataset.split('test'))} to evaluate, {len(dataset.split('train'))} to calibrate"
        return dataset

    def _load(self) -> Source:
        shapes = {"": self.plan.input_shape} if self.plan.input_shape else {}
        weights = Path(self.plan.weights) if self.plan.weights else None
        with self.progress.stage("load", self.plan.model) as stage:
            source = load_source(SourceRequest(self.plan.model, weights, shapes, self.plan.trust))
            self.stack.callback(source.close)
            stage.note = source.framework
        return source

    def _specify(self) -> Specification:
        kind = self.dataset.kind if self.dataset else _kind_of(self.plan)
        columns = self.dataset.columns if self.dataset else ()
        return specification_for(self.plan.preprocess, kind, columns, self.source.inputs)

    def _format(self) -> str:
        row = source_kinds()[self.source.framework].conversions()
        wanted = format_name(self.plan.format) if self.plan.format else None
        allowed = self.target.limits.formats
        if wanted is not None and wanted not in allowed:
            raise UsageError(f"{self.target.name} does not run {wanted}", f"it runs {', '.join(allowed)}")
        for name in (wanted,) if wanted else allowed:
            if name in row:
                return name
        conversion(self.source.framework, wanted or allowed[0])  # raises with the ways round it
        raise NoConversion(f"a {self.source.framework} model cannot reach {self.target.name}", "")

    def _calibration(self) -> tuple[Callable[[], Iterable[Feeds]] | None, DataInfo | None]:
        origin, dataset = "training split of --data", self.dataset
        if self.plan.calibration_data is not None:
            origin, dataset = "--calibration-data", open_dataset(self.plan.calibration_data, label=self.plan.label)
        if dataset is None:
            return None, None
        split = dataset.split("train") or (dataset.split("test") if self.plan.calibration_data else ())
        chosen = pick(split, [s.label for s in split], self.plan.calibration_samples)
        if not chosen:
            return None, None
        shared = overlap(chosen, self.samples)
        if shared:
            raise DataError(
                f"{len(shared)} calibration samples are in the evaluation split too, as {next(iter(shared))}",
                "give --calibration-data that does not overlap",
            )
        info = dataset.info("calibration", chosen, origin)
        return lambda: (self._feeds([s.load()]) for s in chosen), info

    # -- running things --------------------------------------------------------------------------------------------

    def _feeds(self, raws: Sequence[Any]) -> dict[str, np.ndarray]:
        """Model inputs with batch axis for raw samples, through the specification."""
        prepared = [self.specification.preprocess(raw, Context()) for raw in raws]
        if isinstance(prepared[0], dict):
            return {name: np.stack([p[name] for p in prepared]) for name in prepared[0]}
        info = self.source.inputs[0]
        batch = np.stack([np.asarray(p) for p in prepared])
        expected = tuple(info.shape[1:])
        if len(batch.shape[1:]) != len(expected) or any(
            want not in (-1, have) for have, want in zip(batch.shape[1:], expected, strict=True)
        ):
            raise UsageError(
                f"pre-processing gives {batch.shape[1:]} where the model's input {info.name!r} takes {expected}",
                "change --preprocess or --input-shape",
            )
        return {info.name: batch.astype(info.dtype, copy=False)}

    def _source_outputs(self, samples: Sequence[Sample]) -> Iterator[dict[str, np.ndarray]]:
        """Outputs of the source, sample by sample, without batch axis."""
        size = _BATCH if self.source.inputs[0].shape[0] == -1 else 1
        for start in range(0, len(samples), size):
            outputs = self.source.run(self._feeds([s.load() for s in samples[start : start + size]]))
            for i in range(len(samples[start : start + size])):
                yield {name: value[i] for name, value in outputs.items()}

    def _evaluate_source(self) -> Evaluation | None:
        task = self.task = self.plan.task or (self.dataset.task if self.dataset else "none")
        if self.dataset is None or task == "none":
            self.warnings.append("accuracy was not measured: there was no labelled data")
            self.progress.say("accuracy is not measured: give --data to know it")
            return None
        with self.progress.stage("evaluate", f"source ({self.source.framework})") as stage:
            outputs = list(stage.track(self._source_outputs(self.samples), len(self.samples)))
            if not self.specification.output:
                first = np.stack([next(iter(o.values())) for o in outputs])
                steps = answer_steps(task, first)
                data = replace(self.specification.to_data(), output=steps)
                self.specification = Specification.from_data(data)
            context = Context(labels=self.dataset.labels)
            scores = [self.specification.scores(o, context) for o in outputs]
            result = evaluate(scores, self.samples, task, self.dataset.labels)
            stage.note = _headline(result)
        return result

    # -- variants --------------------------------------------------------------------------------------------------

    def _convert(self, format_: str) -> Converted:
        lower = conversion(self.source.framework, format_)
        with self.progress.stage("convert", f"{self.source.framework} → {format_}") as stage:
            model = lower(self.source, self.folder, self.target.limits)
            stage.file = model.path
            stage.note = ", ".join(f"{k} {v}" for k, v in list(model.tools.items())[:2])
            self.fidelity = self._compare(model)
        return model

    def _probe_feeds(self) -> list[Feeds]:
        if self.samples:
            chosen = pick(self.samples, [s.label for s in self.samples], _PROBES)
            return [self._feeds([s.load()]) for s in chosen]
        return random_feeds(self.source.inputs, _PROBES, seed=0)

    def _compare(self, model: Converted) -> dict[str, float]:
        strict = model.precision == "fp32"
        return compare(self.source, model, self._probe_feeds(), strict=strict).as_dict()

    def _precisions(self, floating: Converted, calibration: object) -> list[str]:
        asked = precision_name(self.plan.quantize)
        if floating.precision != "fp32" and asked in ("auto", floating.precision):
            return [floating.precision]
        if asked != "auto":
            return [asked] if asked == "fp32" or self.plan.max_drop is None else [asked, "fp32"]
        wanted = list(self.target.limits.precisions)
        if calibration is None and "int8" in wanted:
            wanted.remove("int8")
            remark = "int8 needs samples for quantization calibration: give --data or --calibration-data"
            if not wanted:
                raise UsageError(f"{self.target.name} runs int8 only", remark)
            self.warnings.append(remark)
            self.progress.say(remark)
        return wanted

    def _variant(self, floating: Converted, precision: str, calibration: Any) -> VariantResult:
        if precision == floating.precision:
            model, fidelity = floating, self.fidelity
        elif floating.precision != "fp32":
            raise UsageError(
                f"the model is {floating.precision} already and cannot become {precision}",
                "leave --quantize out, or give the float model",
            )
        else:
            recipe = recipe_for(precision, floating.format, self.target.limits)
            with self.progress.stage("quantize", precision) as stage:
                model = apply_recipe(recipe, floating, PassContext(self.target.limits, self.folder, calibration))
                stage.file = model.path
                fidelity = self._compare(model)
        variant = Variant(
            name=model.name,
            format=model.format,
            precision=model.precision,
            file=f"models/{model.name}{model.path.suffix}",
            inputs=model.inputs,
            outputs=model.outputs,
            backends=self.target.backends[model.format],
            recipe=model.recipe,
            fidelity=fidelity,
        )
        self.files[variant.name] = model
        return VariantResult(variant, model.path.stat().st_size)

    def _draft(self, variants: tuple[Variant, ...], chosen: str) -> Manifest:
        return Manifest(
            schema=SCHEMA,
            name=self.plan.model_name(),
            target=self.target.name,
            task=self.task,
            inputs=self.source.inputs,
            outputs=self.source.outputs,
            specification=self.specification.to_data(),
            variants=variants,
            chosen=chosen,
            source=SourceInfo(self.source.framework, self.source.name, self.source.sha256),
            labels=self.dataset.labels if self.dataset else (),
        )

    def _runtime(self, variant: Variant) -> Runtime:
        """The variant on the first of its interpreters that is installed here."""
        chosen = choose_backend(variant.backends)
        session = chosen.open(self.files[variant.name].path.read_bytes())
        return Runtime(self._draft((variant,), variant.name), variant, chosen, session)

    def _measure(self, result: VariantResult, source: Evaluation | None) -> VariantResult:
        if source is None or self.dataset is None:
            return result
        runtime = self._runtime(result.variant)
        label = f"{result.variant.name} on {runtime.backend.name} {runtime.backend.version()}"
        with self.progress.stage("evaluate", label) as stage:
            scores = [runtime.scores(s.load()) for s in stage.track(self.samples, len(self.samples))]
            measured = evaluate(scores, self.samples, self.task, self.dataset.labels)
            stage.note = _headline(measured)
        runtime.close()
        metric, sign = primary_metric(self.task)
        drop = sign * (source.metrics[metric] - measured.metrics[metric])
        variant = replace(
            result.variant,
            metrics=measured.metrics,
            measured_with=f"{runtime.backend.name} {runtime.backend.version()}",
        )
        return VariantResult(variant, result.bytes, drop, measured)

    # -- what comes out --------------------------------------------------------------------------------------------

    def _assemble(
        self,
        results: Sequence[VariantResult],
        choice: Choice,
        source: Evaluation | None,
        calibration: DataInfo | None,
    ) -> tuple[Manifest, dict[str, bytes | Path]]:
        kept = [r for r in results if self.plan.keep == "all" or r.variant.name == choice.name]
        variants = tuple(r.variant for r in kept)
        members: dict[str, bytes | Path] = {v.file: self.files[v.name].path for v in variants}
        with self.progress.stage("golden samples", "expected answers"):
            golden = self._golden(variants, members)
        tools = {"edgekit": __version__, "python": platform.python_version(), **self.source.tools}
        for variant in variants:
            tools.update(self.files[variant.name].tools)
        data: list[DataInfo] = []
        monitoring = Monitoring()
        if self.dataset is not None:
            data.append(self.dataset.info("evaluation", self.samples, "--data"))
            quantized = any(v.precision in ("int8", "w8a16") for v in variants)
            if calibration is not None and quantized:
                data.append(calibration)
            with self.progress.stage("reference", "distributions for monitoring"):
                monitoring = self._monitoring(next(v for v in variants if v.name == choice.name), data)
        manifest = self._draft(variants, choice.name).replace(
            source=SourceInfo(
                self.source.framework, self.source.name, self.source.sha256, source.metrics if source else {}
            ),
            data=tuple(data),
            golden=golden,
            monitoring=monitoring,
            tools=dict(sorted(tools.items())),
            warnings=tuple(self.warnings),
        )
        return manifest, members

    def _golden(self, variants: Sequence[Variant], members: dict[str, bytes | Path]) -> Golden:
        raws: list[Any]
        if self.samples:
            raws = [s.load() for s in pick(self.samples, [s.label for s in self.samples])]
        else:
            raws = invent(self.specification, self.source.inputs, COUNT)
        samples = []
        kind = self.specification.kind
        for i, raw in enumerate(raws):
            suffix, content = encode_raw(kind, raw)
            member = f"golden/{i}{suffix}"
            members[member] = content
            decoded = ""
            if kind == "image":
                decoded = f"golden/{i}.decoded.npy"
                members[decoded] = array_bytes(decode_picture(decode_raw(member, content)))
            samples.append(GoldenSample(member, decoded))
        expected, same, other = [], {}, {}
        for variant in variants:
            runtime = self._runtime(variant)
            each = [runtime.tensors(decode_raw(s.raw, _bytes(members[s.raw]))) for s in samples]
            outputs = {o.name: np.stack([e[o.name] for e in each]) for o in runtime.manifest.outputs}
            places = {}
            for number, (name, value) in enumerate(outputs.items()):
                places[name] = f"golden/expected/{variant.name}.{runtime.backend.name}.{number}.npy"
                members[places[name]] = array_bytes(value)
            expected.append(
                Expectation(
                    variant.name, runtime.backend.name, runtime.backend.version() or "", platform.machine(), places
                )
            )
            same[variant.name], other[variant.name] = tolerances(variant, outputs)
            runtime.close()
        return Golden(tuple(samples), tuple(expected), same, other)

    def _monitoring(self, variant: Variant, data: list[DataInfo]) -> Monitoring:
        if self.dataset is None or not self.dataset.split("train"):
            return Monitoring()
        split = self.dataset.split("train")
        chosen = pick(split, [s.label for s in split], 500)
        data.append(self.dataset.info("reference", chosen, "training split of --data"))
        runtime = self._runtime(variant)
        reference = monitoring_reference(runtime, chosen, self.samples, self.task, self.dataset)
        runtime.close()
        return reference


def _bytes(content: bytes | Path) -> bytes:
    return content if isinstance(content, bytes) else content.read_bytes()


def _kind_of(plan: ExportPlan) -> str:
    """Kind of raw sample where no data set says: pictures if a picture preset is named, else tensors."""
    if plan.preprocess is None:
        return "tensor"
    return "audio" if plan.preprocess.startswith("kws") else "image"


def _headline(evaluation: Evaluation) -> str:
    name, value = next(iter(evaluation.metrics.items()))
    return f"{name} {value:.4f} on {evaluation.samples} samples"
