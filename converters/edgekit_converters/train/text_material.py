"""Texts as tokens, in batches of like length; and what a frozen encoder makes of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit_converters.errors import TrainingError, UsageError
from edgekit_converters.train.material import Example, TrainMaterial
from edgekit_runtime.atomic import replacing
from edgekit_runtime.errors import SpecificationError
from edgekit_runtime.manifest import SpecificationData
from edgekit_runtime.specification import Specification
from edgekit_runtime.specification.step import Context

Tokens = dict[str, np.ndarray]

_TOGETHER = 64  # texts that are embedded at once


def text_column(material: TrainMaterial) -> str:
    """The column that holds the text.

    Raises:
        UsageError: There are several and nobody said which, or it is not there.
    """
    if not material.text and len(material.columns) == 1:
        return material.columns[0]
    if material.text not in material.columns:
        said = f"there is no column {material.text!r:.60}" if material.text else "it is not said which column is text"
        raise UsageError(said, f"give --text with one of {', '.join(material.columns[:10])}")
    return material.text


class Texts:
    """Examples as tokens.

    Args:
        examples: Rows of a table.
        column: Which column holds the text.
        step: Step ``wordpiece`` as plain data.
        files: Its vocabulary.

    Attributes:
        tokens: Model inputs of each, without batch axis.
        labels: (examples,) class indices.
    """

    def __init__(self, examples: Sequence[Example], column: str, step: Any, files: Any) -> None:
        self.examples = examples
        prepare = Specification.from_data(
            SpecificationData("table", ({"step": "text", "column": column}, step)), files
        ).preprocess
        self.tokens: list[Tokens] = []
        for example in examples:
            try:
                self.tokens.append(dict(prepare(example.load(), Context())))
            except SpecificationError as error:
                raise TrainingError(f"sample {example.id} cannot be used: {error.message}", error.hint) from error
        self.labels = np.array([int(e.label or 0) for e in examples], np.int64)

    def __len__(self) -> int:
        return len(self.tokens)

    def length(self, index: int) -> int:
        """Tokens of one text."""
        return len(next(iter(self.tokens[index].values())))

    def batch(self, indices: Sequence[int]) -> Tokens:
        """Inputs of several texts, zeros behind the shorter ones."""
        longest = max(map(self.length, indices))
        return {
            name: np.stack([np.pad(self.tokens[i][name], (0, longest - self.length(i))) for i in indices])
            for name in self.tokens[indices[0]]
        }

    def order(self, size: int, seed: int, epoch: int) -> list[list[int]]:
        """Batches of an epoch: by chance, but of texts of like length, so that little is filled up.

        They follow from seed and epoch alone: a resumed run sees what an uninterrupted one would have seen.
        """
        random = np.random.default_rng((seed, epoch))
        mixed = random.permutation(len(self)).tolist()
        pool = size * 50
        batches: list[list[int]] = []
        for start in range(0, len(mixed), pool):
            some = sorted(mixed[start : start + pool], key=self.length)
            batches += [some[i : i + size] for i in range(0, len(some), size)]
        return [batches[int(i)] for i in random.permutation(len(batches))]

    def by_length(self, size: int = _TOGETHER) -> list[list[int]]:
        """Batches of like length, shortest first."""
        places = sorted(range(len(self)), key=self.length)
        return [places[i : i + size] for i in range(0, len(places), size)]

    def digest(self) -> str:
        """Hash of the tokens."""
        found = hashlib.sha256()
        for tokens in self.tokens:
            found.update(tokens["input_ids"].tobytes())
        return found.hexdigest()


def each(texts: Texts, call: Callable[[Tokens], np.ndarray]) -> np.ndarray:
    """(examples, width): what a function of a batch gives, in the examples' order."""
    rows: dict[int, np.ndarray] = {}
    for indices in texts.by_length():
        rows.update(zip(indices, call(texts.batch(indices)), strict=True))
    return np.stack([rows[i] for i in range(len(texts))])


def embeddings(texts: Texts, call: Callable[[Tokens], np.ndarray], encoder: str, folder: Path) -> np.ndarray:
    """What a frozen encoder makes of texts, computed once and kept in a folder.

    Args:
        texts: The texts.
        call: Tokens of a batch to (batch, width).
        encoder: Hash of the encoder.
        folder: Where it is kept.
    """
    name = hashlib.sha256(f"{encoder} {texts.digest()}".encode()).hexdigest()[:24]
    path = folder / f"{name}.npy"
    if path.is_file():
        kept: np.ndarray = np.load(path, allow_pickle=False)
        if len(kept) == len(texts):
            return kept
    found = each(texts, call)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(path) as out:
        np.save(out, found)
    return found


def probe(
    learnt: np.ndarray, labels: np.ndarray, chosen: np.ndarray, expected: np.ndarray, classes: int, balanced: bool,
    strengths: Sequence[float] = (1.0, 10.0, 100.0),
) -> tuple[np.ndarray, np.ndarray, float]:  # fmt: skip
    """Logistic regression on embeddings, its strength chosen by the validation examples.

    Args:
        learnt: (examples, width) embeddings to learn from.
        labels: (examples,) their classes.
        chosen: (others, width) embeddings to choose by.
        expected: (others,) their classes.
        classes: How many classes there are, of which some may have no example.
        balanced: Whether rare classes weigh more.
        strengths: Inverse regularizations that are tried, after each dimension is divided by its spread.

    Returns:
        (classes, width) weights and (classes,) offsets of raw embeddings, and the strength.
    """
    from sklearn.linear_model import LogisticRegression

    spread = learnt.std(axis=0)
    # a dimension that hardly moves must not get a huge weight: int8 would keep nothing of the others
    spread = np.maximum(spread, 0.1 * float(np.median(spread)) or 1.0)
    width = learnt.shape[1]
    best: tuple[float, Any, float] | None = None
    for strength in strengths:
        model = LogisticRegression(C=strength / width, max_iter=300, class_weight="balanced" if balanced else None).fit(
            learnt / spread, labels
        )
        right = float(model.score(chosen / spread, expected))
        if best is None or right > best[0]:
            best = (right, model, strength)
    assert best is not None  # noqa: S101 - there is a strength
    _, model, strength = best
    weights = np.zeros((classes, width), np.float32)
    offsets = np.full(classes, -50.0, np.float32)  # a class that nobody showed is never the answer
    rows, starts = model.coef_ / spread, model.intercept_
    if len(rows) == 1:  # of two classes scikit-learn keeps the difference
        rows, starts = np.concatenate([-rows, rows]) / 2, np.concatenate([-starts, starts]) / 2
    for place, name in enumerate(model.classes_):
        weights[int(name)], offsets[int(name)] = rows[place], starts[place]
    return weights, offsets, strength


def batches(texts: Texts, order: Sequence[Sequence[int]]) -> Iterator[tuple[Tokens, np.ndarray, Sequence[int]]]:
    """(inputs, labels, indices) of each batch."""
    for indices in order:
        yield texts.batch(indices), texts.labels[np.asarray(indices)], indices
