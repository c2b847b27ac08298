"""What the monitor on the device will compare with: made from the training split, on the variant that ships."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgekit.data import Dataset, Sample
from edgekit.evaluate.evaluation import Evaluation, per_class
from edgekit.evaluate.limits import drift_limits
from edgekit_runtime.manifest import ConfidenceBin, Monitoring, Quantiles
from edgekit_runtime.monitor.sketch import number
from edgekit_runtime.monitor.watching import OTHERS, chosen
from edgekit_runtime.runtime import Runtime
from edgekit_runtime.specification.pictures import decode_picture
from edgekit_runtime.specification.summaries import picture_summary, sound_summary

BINS = 32
_CONFIDENCE_BINS = 10
_MAX_SCORES = 1000  # ImageNet's classes
_ROUNDING = 0.02  # a dequantized probability may be a step or two outside 0..1


def quantiles(values: Sequence[float], reference: int | None = None) -> Quantiles:
    """33 edges of 32 bins with equal shares of the finite values, and how far a window without drift may be from them.

    Args:
        values: Of the reference samples.
        reference: How many samples the bundle will say that it has; None for as many as values.
    """
    array = np.asarray(values, np.float64)
    finite = array[np.isfinite(array)]
    if not finite.size:
        return Quantiles((0.0,) * (BINS + 1), nulls=1.0)
    edges = tuple(float(e) for e in np.quantile(finite, np.linspace(0, 1, BINS + 1)))
    return Quantiles(
        edges,
        float(finite.mean()),
        float(finite.std()),
        float(1 - finite.size / array.size),
        drift_limits(edges, reference or array.size, finite.size),
    )


def _inputs(kind: str, raw: Any) -> dict[str, float]:
    if kind == "image":
        return picture_summary(decode_picture(raw))
    if kind == "audio":
        from edgekit_runtime.specification.audio import read_wav

        return sound_summary(read_wav(raw)[0])
    if kind == "table" and isinstance(raw, Mapping):
        return {name: _number(value) for name, value in raw.items()}
    return {}


def _number(value: Any) -> float:
    """As the monitor on the device reads it; NaN for what is no number."""
    try:
        return number(value)
    except ValueError:
        return float("nan")


def _row(scores: Any) -> np.ndarray | None:
    """One answer's scores as float32; None where they are no numbers, or more than anyone watches (a mask, a map)."""
    array = np.asarray(scores)
    if array.dtype.kind not in "fiub" or not 0 < array.size <= _MAX_SCORES:
        return None
    return array.astype(np.float32).reshape(-1)


def monitoring_reference(
    runtime: Runtime,
    reference: Sequence[Sample],
    held_out: Sequence[Sample],
    task: str,
    dataset: Dataset,
    evaluation: Evaluation | None = None,
) -> Monitoring:
    """Reference distributions.

    Args:
        runtime: The variant that ships.
        reference: Training samples for inputs and output scores.
        held_out: Samples the model was not trained on, for the confidence table.
        task: The model's task.
        dataset: Where both come from.
        evaluation: Of `runtime`'s variant on `held_out`, so that it need not run over them again.
    """
    inputs: dict[str, list[float]] = {}
    scores = []
    for sample in reference:
        raw = sample.load()
        for name, value in _inputs(dataset.kind, raw).items():
            inputs.setdefault(name, []).append(value)
        if (row := _row(runtime.scores(raw))) is not None:
            scores.append(row)
    alike = len(scores) == len(reference) and len({s.size for s in scores}) == 1
    stacked = np.stack(scores) if alike else np.zeros((0, 0), np.float32)
    names = dataset.labels if len(dataset.labels) == stacked.shape[1] else tuple(map(str, range(stacked.shape[1])))
    counts = Counter(
        dataset.labels[int(s.label)] for s in dataset.split("train") if s.label is not None and dataset.labels
    )
    total = sum(counts.values())
    priors = {n: c / total for n, c in sorted(counts.items())}
    table: tuple[ConfidenceBin, ...] = ()
    if task == "classification" and held_out:
        if evaluation is not None:
            answers, targets = evaluation.scores, evaluation.targets
        else:
            answers = np.stack([np.asarray(runtime.scores(s.load()), np.float32).reshape(-1) for s in held_out])
            targets = np.array([s.label for s in held_out])
        table = confidence_table(per_class(answers), targets)
    return Monitoring(
        inputs={n: quantiles(v, len(reference)) for n, v in inputs.items()},
        outputs=_outputs(names, stacked, priors),
        priors=priors,
        confidence=table,
    )


def _outputs(names: Sequence[str], scores: np.ndarray, priors: Mapping[str, float]) -> dict[str, Quantiles]:
    """Edges of every score, or of the most frequent classes (else those that vary most) and the best of the others.

    Args:
        names: One for each score.
        scores: (samples, names).
        priors: Class to its share; empty where there are no classes.
    """
    spread = scores.std(axis=0) if scores.size else np.zeros(len(names))
    weights = priors if any(n in priors for n in names) else dict(zip(names, spread.tolist(), strict=True))
    watched = set(chosen(names, weights))
    found = {n: quantiles(scores[:, i].tolist()) for i, n in enumerate(names) if n in watched}
    rest = [i for i, n in enumerate(names) if n not in watched]
    if rest and OTHERS not in names:
        found[OTHERS] = quantiles(scores[:, rest].max(axis=1).tolist())
    return found


def confidence_table(scores: np.ndarray, targets: np.ndarray) -> tuple[ConfidenceBin, ...]:
    """Accuracy by confidence (the largest score), in ten bins of equal width; empty bins are left out.

    Empty where the scores are no probabilities: such a table would promise what it cannot know.

    Args:
        scores: (samples, classes).
        targets: (samples,) class indices.
    """
    if scores.min() < -_ROUNDING or scores.max() > 1 + _ROUNDING:
        return ()
    confidence, right = scores.max(axis=1), scores.argmax(axis=1) == targets
    edges = np.linspace(0, 1, _CONFIDENCE_BINS + 1)
    place = np.clip(np.digitize(confidence, edges) - 1, 0, _CONFIDENCE_BINS - 1)
    return tuple(
        ConfidenceBin(float(edges[b]), float(edges[b + 1]), int(inside.sum()), float(right[inside].mean()))
        for b in range(_CONFIDENCE_BINS)
        if (inside := place == b).any()
    )
