"""The manifest of an export and the members of its bundle."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit import __version__
from edgekit.contract import Choice
from edgekit.evaluate import Evaluation
from edgekit.evaluate.reference import monitoring_reference
from edgekit.golden import COUNT, golden, invent, pick
from edgekit.material import Material
from edgekit.progress import Progress
from edgekit.result import VariantResult
from edgekit_converters.recipe import Converted
from edgekit_converters.source import Source
from edgekit_runtime.manifest import SCHEMA, DataInfo, Manifest, Monitoring, SourceInfo, Variant
from edgekit_runtime.runtime import Runtime
from edgekit_runtime.specification import FOLDER, Specification

_REFERENCE = 500  # training samples that the monitoring's distributions are made from


def files_of(model: Converted) -> tuple[Path, ...]:
    """Every file of a model, itself first."""
    return (model.path, *model.beside, *model.builds.values())


def member_of(model: Converted, path: Path) -> str:
    """Where a file of a model lies in the bundle: by the model's name, or in a folder of it where it is several."""
    if not model.beside:
        return f"models/{model.name}{path.suffix}"
    build = next((name for name, built in model.builds.items() if built == path), "")
    return f"models/{model.name}/{path.stem.split('-')[0]}-{build}.so" if build else f"models/{model.name}/{path.name}"


@dataclass(frozen=True)
class Assembly:
    """What is known once the source is loaded and its specification is settled.

    Attributes:
        name: Of the model.
        target: Target name.
        source: The source.
        specification: Pre- and post-processing.
        material: The samples.
    """

    name: str
    target: str
    source: Source
    specification: Specification
    material: Material

    def draft(self, variants: tuple[Variant, ...], chosen: str) -> Manifest:
        """A manifest that a variant can be run with, before there is a bundle."""
        return Manifest(
            schema=SCHEMA,
            name=self.name,
            target=self.target,
            task=self.material.task,
            inputs=self.source.inputs,
            outputs=self.source.outputs,
            specification=self.specification.to_data(),
            variants=variants,
            chosen=chosen,
            source=SourceInfo(self.source.framework, self.source.name, self.source.sha256),
            labels=self.material.labels,
        )

    def finish(
        self,
        kept: Sequence[VariantResult],
        choice: Choice,
        made: Mapping[str, Converted],
        source: Evaluation | None,
        run: Callable[[Variant], Runtime],
        progress: Progress,
    ) -> tuple[Manifest, dict[str, bytes | Path]]:
        """The manifest but for notes and warnings, and the members it speaks of.

        Args:
            kept: Variants that go into the bundle.
            choice: Which of them ships.
            made: Variant name to its file.
            source: The source's evaluation.
            run: Opens a variant; closed here.
            progress: Hears of the stages.
        """
        variants = tuple(r.variant for r in kept)
        members: dict[str, bytes | Path] = {
            member_of(made[v.name], path): path for v in variants for path in files_of(made[v.name])
        }
        members.update({f"{FOLDER}/{name}": content for name, content in self.specification.files.items()})
        with progress.stage("golden samples", "expected answers"):
            answers, contents = golden(self._raws(), self.specification.kind, variants, run)
            members.update(contents)
        tools = {"edgekit": __version__, "python": platform.python_version(), **self.source.tools}
        for variant in variants:
            tools.update(made[variant.name].tools)
        quantized = any(v.precision in ("int8", "w8a16") for v in variants)
        data = [d for d in self.material.data if d.role != "calibration" or quantized]
        monitoring = Monitoring()
        if self.material.dataset is not None and self.material.dataset.split("train"):
            with progress.stage("reference", "distributions for monitoring"):
                shipped = next(r for r in kept if r.variant.name == choice.name)
                monitoring, info = self._monitoring(shipped, run)
                data.append(info)
        origin = SourceInfo(
            self.source.framework, self.source.name, self.source.sha256, source.metrics if source else {}
        )
        manifest = self.draft(variants, choice.name).replace(
            source=origin,
            data=tuple(data),
            golden=answers,
            monitoring=monitoring,
            tools=dict(sorted(tools.items())),
        )
        return manifest, members

    def _raws(self) -> list[object]:
        """Raw golden samples: the user's own, filled up with invented ones where there are few."""
        probes = self.material.probes
        raws = [s.load() for s in pick(probes, [s.group for s in probes])]
        return raws + invent(self.specification, self.source.inputs, COUNT)[: COUNT - len(raws)]

    def _monitoring(self, shipped: VariantResult, run: Callable[[Variant], Runtime]) -> tuple[Monitoring, DataInfo]:
        dataset, material = self.material.dataset, self.material
        assert dataset is not None  # noqa: S101 - the caller looked
        split = dataset.split("train")
        chosen = pick(split, [s.group for s in split], _REFERENCE)
        with run(shipped.variant) as runtime:
            reference = monitoring_reference(
                runtime, chosen, material.evaluation, material.task, dataset, shipped.evaluation
            )
        return reference, dataset.info("reference", chosen, "training split of --data")
