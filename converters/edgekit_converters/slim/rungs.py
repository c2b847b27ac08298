"""Rungs of the accuracy ladder that change the source: they cost training, so they come after all recipes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekit_converters.errors import ConversionError, UsageError
from edgekit_converters.limits import TargetLimits
from edgekit_converters.recipe import Converted, Feeds
from edgekit_converters.slim.prune import prune
from edgekit_converters.slim.qat import QatSettings, qat, to_onnx, to_tflite
from edgekit_converters.slim.settings import FineTune, Measure, PruneSettings, Score
from edgekit_converters.source import Source


@dataclass(frozen=True)
class SourceRung:
    """One way to change a source before it is converted.

    Attributes:
        name: As shown in tables: ``qat``, ``pruned``, ``pruned, qat``.
        cost: What it costs, in a word or two.
        make: Called with a folder; trains, converts and gives the model file. Raises `ConversionError` where it cannot,
            or where pruning was not worth it.
    """

    name: str
    cost: str
    make: Callable[[Path], Converted]


def source_rungs(
    source: Source,
    format: str,
    limits: TargetLimits,
    *,
    samples: Sequence[Feeds],
    fine_tune: FineTune,
    score: Score,
    measure: Measure,
    pruning: PruneSettings | None = None,
    training: QatSettings | None = None,
) -> Iterator[SourceRung]:
    """What can be done to a PyTorch source, cheapest first; nothing for other kinds.

    Args:
        source: As loaded.
        format: ``onnx`` or ``tflite``.
        limits: Of the target.
        samples: Model inputs by name, batch of 1; training samples, as for quantization calibration.
        fine_tune: (network, epochs), trains in place; best with the source itself as the teacher.
        score: Network to how well it does on validation data, not on what the ladder evaluates on.
        measure: Networks to milliseconds, as `latency.Stopwatch`.
        pruning: How to prune.
        training: How to train for int8.
    """
    from edgekit_converters.sources.torch import TorchSource

    if not isinstance(source, TorchSource) or format not in ("onnx", "tflite"):
        return
    work = _Work(source, format, limits, samples, fine_tune, score, measure, pruning, training)
    yield SourceRung("qat", "training", lambda folder: work.rounded(source, folder))
    if work.prunable():
        yield SourceRung("pruned", "training", work.pruned)
        yield SourceRung("pruned, qat", "training", lambda folder: work.rounded(work.slim(), folder))


class _Work:
    """What the rungs share: pruning is done once."""

    def __init__(
        self,
        source: Any,
        format: str,
        limits: TargetLimits,
        samples: Sequence[Feeds],
        fine_tune: FineTune,
        score: Score,
        measure: Measure,
        pruning: PruneSettings | None,
        training: QatSettings | None,
    ) -> None:
        self.source, self.format, self.limits, self.samples = source, format, limits, samples
        self.fine_tune, self.score, self.measure = fine_tune, score, measure
        self.pruning = pruning or PruneSettings()
        self.training = replace(training or QatSettings(), signed_activations=limits.signed_activations)
        self._slim: Any = None

    def prunable(self) -> bool:
        """Whether the source has layers to cut: an exported program has none."""
        import torch

        return not isinstance(self.source.module, torch.fx.GraphModule)

    def rounded(self, source: Any, folder: Path) -> Converted:
        """Trained for int8, and converted."""
        import torch

        observed = [tuple(torch.from_numpy(feed[i.name]) for i in source.inputs) for feed in self.samples]
        result = qat(
            source.module, source.examples, observe=observed, fine_tune=self.fine_tune, score=self.score,
            settings=self.training,
        )  # fmt: skip
        if self.format == "onnx":
            return to_onnx(source, result.module, folder, self.limits)
        return to_tflite(source, result.module, folder, self.limits, self.samples)

    def slim(self) -> Any:
        """The source, pruned.

        Raises:
            ConversionError: No step of pruning was worth it; says why.
        """
        from edgekit_converters.sources.torch import TorchSource

        if self._slim is None:
            given = self.source
            result = prune(
                given.module, given.examples, score=self.score, measure=self.measure, fine_tune=self.fine_tune,
                settings=self.pruning,
            )  # fmt: skip
            if not result.cuts:
                why = result.steps[-1].why if result.steps else "channels are too few to be rounded"
                raise ConversionError(f"pruning was not worth it ({why})")
            names = [i.name for i in given.inputs]
            free = given.inputs[0].shape[0] == -1
            self._slim = TorchSource(given.name, given.sha256, result.module, given.examples, free, names)
            self._slim.outputs = given.outputs
            self._cuts = tuple(c.plain() for c in result.cuts)
        return self._slim

    def pruned(self, folder: Path) -> Converted:
        """The pruned source, converted in float."""
        from edgekit_converters.sources.torch import to_onnx as lower_onnx
        from edgekit_converters.sources.torch import to_tflite as lower_tflite

        slim = self.slim()
        convert = {"onnx": lower_onnx, "tflite": lower_tflite}.get(self.format)
        if convert is None:
            raise UsageError(f"pruned networks cannot become {self.format}")
        converted = convert(slim, folder, self.limits)
        entry = {"pass": "prune", "cuts": list(self._cuts)}
        return replace(converted, recipe=(entry, *converted.recipe))
