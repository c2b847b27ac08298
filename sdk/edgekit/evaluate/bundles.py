"""A bundle on a data set, by the runtime that ships."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.data import Dataset, Sample, open_dataset
from edgekit.data.table import NO_LABEL
from edgekit.errors import EvaluationError
from edgekit.evaluate.clustering import measure_clusters
from edgekit.evaluate.evaluation import Evaluation, evaluate, measured_by_answers
from edgekit_runtime import Runtime
from edgekit_runtime.errors import UsageError
from edgekit_runtime.manifest import Manifest


@dataclass(frozen=True)
class Measured:
    """What was measured on what.

    Attributes:
        evaluation: The figures.
        manifest: Of the bundle.
        variant: Which variant ran, and on what.
        samples: The samples, in the order of the scores.
        dataset: Where they are from.
        answers: What the model gave for each: scores, or boxes.
    """

    evaluation: Evaluation
    manifest: Manifest
    variant: str
    samples: Sequence[Sample]
    dataset: Dataset
    answers: Sequence[Any] = ()

    @property
    def task(self) -> str:
        """What was measured: groups where the model makes some, else what the data is labelled for."""
        return "clustering" if self.manifest.task == "clustering" else self.dataset.task


def _as_they_come(samples: Sequence[Sample]) -> Iterable[Sample]:
    return samples


def measure_bundle(
    bundle: str | os.PathLike[str],
    data: str,
    *,
    label: str | None = None,
    split: str = "test",
    limit: int | None = None,
    variant: str | None = None,
    backend: str | None = None,
    trust: bool = False,
    track: Callable[[Sequence[Sample]], Iterable[Sample]] = _as_they_come,
) -> Measured:
    """Run a bundle on labelled samples.

    Args:
        bundle: The file.
        data: The data set, as `open_dataset` takes it.
        label: Label column of a table; not needed where the model makes groups.
        split: ``test``, ``train``, ``validation`` or ``all``.
        limit: At most so many samples, the first ones.
        variant: The only variant that will do.
        backend: The only back end that will do.
        trust: Whether native code in the bundle may run.
        track: Wraps the samples, to show how far it is.

    Raises:
        UsageError: There is no such split, or nothing in it.
        DataError: The data cannot be read or is not labelled.
        EdgekitError: The bundle cannot be opened or run.
    """
    with Runtime.open(bundle, variant=variant, backend=backend, trust=trust) as runtime:
        manifest = runtime.manifest
        clusters = manifest.task == "clustering"
        # groups need no labels: where a table's column is not named, there is none
        wanted = NO_LABEL if clusters and label is None else label
        dataset = open_dataset(data, label=wanted, labels_order=manifest.labels or None)
        every = [s for name in dataset.splits for s in dataset.splits[name]]
        samples = (every if split == "all" else list(dataset.split(split)))[:limit]
        if not samples:
            raise UsageError(f"{data} has no samples in split {split!r}", f"it has {', '.join(dataset.splits)}, all")
        give = runtime if measured_by_answers(dataset.task) else runtime.scores
        answers: list[Any] = [give(s.load()) for s in track(samples)]
        ran = f"{runtime.variant.name} on {runtime.backend.name} {runtime.backend.version()}"
        if clusters:
            rows = np.stack([_row(runtime, s) for s in samples])
            return Measured(measure_clusters(answers, rows, samples), manifest, ran, samples, dataset, answers)
    return Measured(evaluate(answers, samples, dataset.task, dataset.labels), manifest, ran, samples, dataset, answers)


def _row(runtime: Runtime, sample: Sample) -> np.ndarray:
    """What the model takes of a sample, as numbers in one row."""
    parts = runtime.preprocess(sample.load()).values()
    try:
        return np.concatenate([np.asarray(v, np.float64).reshape(-1) for v in parts])
    except ValueError as error:
        raise EvaluationError("the model takes texts, which have no distance", "cluster numbers") from error
