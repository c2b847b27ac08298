"""Raw samples into the source model, through the one specification, and its outputs back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from edgekit.data import Sample
from edgekit.errors import DataError
from edgekit.golden import pick
from edgekit_converters.errors import UsageError
from edgekit_converters.recipe import Feeds
from edgekit_converters.source import Source
from edgekit_runtime.errors import SpecificationError
from edgekit_runtime.manifest import TensorInfo
from edgekit_runtime.specification import Specification
from edgekit_runtime.specification.step import Context

PROBES = 4
_BATCH = 32


def feeds(
    specification: Specification,
    inputs: Sequence[TensorInfo],
    samples: Sequence[Sample],
    contexts: Sequence[Context] | None = None,
) -> dict[str, np.ndarray]:
    """Model inputs with batch axis.

    Args:
        specification: How raw samples become inputs.
        inputs: The model's inputs.
        samples: The samples.
        contexts: One for each, for whoever processes the outputs; fresh ones by default.

    Raises:
        UsageError: What the specification gives does not fit the model's input.
        DataError: A sample cannot be read, or is not what the specification says; names it.
    """
    known = contexts or [Context() for _ in samples]
    prepared = [_prepared(specification, sample, context) for sample, context in zip(samples, known, strict=True)]
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


def _prepared(specification: Specification, sample: Sample, context: Context) -> Any:
    raw = sample.load()
    try:
        return specification.preprocess(raw, context)
    except SpecificationError as error:
        raise DataError(f"sample {sample.id} cannot be used: {error.message}", error.hint) from error


def source_outputs(
    source: Source, specification: Specification, samples: Sequence[Sample], labels: Sequence[str] = ()
) -> Iterator[tuple[dict[str, np.ndarray], Context]]:
    """Outputs of the source, sample by sample, without batch axis, and the context that the output steps take."""
    size = _BATCH if source.inputs[0].shape[0] == -1 else 1
    for start in range(0, len(samples), size):
        batch = samples[start : start + size]
        contexts = [Context(labels=tuple(labels)) for _ in batch]
        if any(-1 in info.shape[1:] for info in source.inputs):
            outputs = _each_length(source, specification, batch, contexts)
        else:
            together = source.run(feeds(specification, source.inputs, batch, contexts))
            outputs = [{name: value[i] for name, value in together.items()} for i in range(len(batch))]
        yield from zip(outputs, contexts, strict=True)


def _each_length(
    source: Source, specification: Specification, samples: Sequence[Sample], contexts: Sequence[Context]
) -> list[dict[str, np.ndarray]]:
    """Outputs of samples whose inputs differ in shape, as texts do: those of one shape are run together."""
    given = [
        feeds(specification, source.inputs, [sample], [context])
        for sample, context in zip(samples, contexts, strict=True)
    ]
    alike: dict[Any, list[int]] = {}
    for place, feed in enumerate(given):
        alike.setdefault(tuple(v.shape for v in feed.values()), []).append(place)
    found: list[dict[str, np.ndarray]] = [{} for _ in samples]
    for places in alike.values():
        outputs = source.run({name: np.concatenate([given[p][name] for p in places]) for name in given[places[0]]})
        for row, place in enumerate(places):
            found[place] = {name: value[row] for name, value in outputs.items()}
    return found


def user_probes(source: Source, specification: Specification, samples: Sequence[Sample]) -> list[Feeds]:
    """Model inputs of a few of the user's samples, spread over their labels."""
    chosen = pick(samples, [s.group for s in samples], source.probes)
    return [feeds(specification, source.inputs, [s]) for s in chosen]


def random_probes(source: Source) -> list[Feeds]:
    """As many random model inputs, always the same ones."""
    return list(source.invented(PROBES))
