"""Raw samples into the source model, through the one specification, and its outputs back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from edgekit.data import Sample
from edgekit.errors import DataError
from edgekit.golden import pick
from edgekit_converters.errors import UsageError
from edgekit_converters.fidelity import random_feeds
from edgekit_converters.recipe import Feeds
from edgekit_converters.source import Source
from edgekit_runtime.errors import SpecificationError
from edgekit_runtime.manifest import TensorInfo
from edgekit_runtime.specification import Specification
from edgekit_runtime.specification.step import Context

PROBES = 4
_BATCH = 32


def feeds(
    specification: Specification, inputs: Sequence[TensorInfo], samples: Sequence[Sample]
) -> dict[str, np.ndarray]:
    """Model inputs with batch axis.

    Raises:
        UsageError: What the specification gives does not fit the model's input.
        DataError: A sample cannot be read, or is not what the specification says; names it.
    """
    prepared = [_prepared(specification, sample) for sample in samples]
    if isinstance(prepared[0], dict):
        return {name: np.stack([p[name] for p in prepared]) for name in prepared[0]}
    info = inputs[0]
    batch = np.stack([np.asarray(p) for p in prepared])
    expected = tuple(info.shape[1:])
    if len(batch.shape[1:]) != len(expected) or any(
        want not in (-1, have) for have, want in zip(batch.shape[1:], expected, strict=True)
    ):
        raise UsageError(
            f"pre-processing gives {batch.shape[1:]} where the model's input {info.name!r} takes {expected}",
            "change --preprocess or --input-shape",
        )
    return {info.name: batch.astype("object" if info.dtype == "string" else info.dtype, copy=False)}


def _prepared(specification: Specification, sample: Sample) -> Any:
    raw = sample.load()
    try:
        return specification.preprocess(raw, Context())
    except SpecificationError as error:
        raise DataError(f"sample {sample.id} cannot be used: {error.message}", error.hint) from error


def source_outputs(
    source: Source, specification: Specification, samples: Sequence[Sample]
) -> Iterator[dict[str, np.ndarray]]:
    """Outputs of the source, sample by sample, without batch axis."""
    size = _BATCH if source.inputs[0].shape[0] == -1 else 1
    for start in range(0, len(samples), size):
        batch = samples[start : start + size]
        outputs = source.run(feeds(specification, source.inputs, batch))
        for i in range(len(batch)):
            yield {name: value[i] for name, value in outputs.items()}


def user_probes(source: Source, specification: Specification, samples: Sequence[Sample]) -> list[Feeds]:
    """Model inputs of a few of the user's samples, spread over their labels."""
    chosen = pick(samples, [s.label for s in samples], source.probes)
    return [feeds(specification, source.inputs, [s]) for s in chosen]


def random_probes(source: Source) -> list[Feeds]:
    """As many random model inputs, always the same ones."""
    return random_feeds(source.inputs, PROBES, seed=0)
