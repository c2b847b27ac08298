"""Classic models know their own classes and columns: the data is fitted to the model, by name, never by order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgekit.data import Dataset, Sample
from edgekit.errors import DataError
from edgekit.material import Material
from edgekit_converters.source import Source
from edgekit_converters.sources.classic import ClassicSource
from edgekit_runtime.errors import UsageError
from edgekit_runtime.manifest import SpecificationData
from edgekit_runtime.specification import Specification

_NAMELESS = re.compile(r"(x|f|Column_)\d+|text")
"""Features that nobody named: they go by their place."""


def fit_material(material: Material, source: Source, task: str | None = None) -> Material:
    """The samples with labels as the model has them: classes in its order, numbers for a regression.

    Args:
        material: The samples.
        source: The model.
        task: What was asked for; None for what the model does.

    Raises:
        DataError: The data has a class that the model does not know, or none where numbers are needed.
    """
    if material.dataset is None or material.dataset.task == "none":
        labels = source.labels if source.labels and not material.labels else material.labels
        return replace(material, labels=labels, task=task or source.task)
    if source.task in ("none", "clustering"):  # nothing that a label says is right or wrong
        return replace(material, task=source.task, evaluation=())
    if not material.labels:  # numbers
        if source.task == "classification":
            raise DataError("the labels are numbers, the model tells classes", "give --label with its column")
        return material
    if source.task == "regression":
        return _numbers(material)
    if not source.labels:  # a booster's file counts its classes and does not name them
        return material
    names, places = _matched(material.labels, source.labels, by_place=material.kind == "tensor")
    return _relabelled(material, names, lambda sample: replace(sample, label=places[int(sample.label or 0)]))


def _matched(have: Sequence[str], known: Sequence[str], *, by_place: bool) -> tuple[tuple[str, ...], list[int]]:
    """The model's classes as the data calls them, and the place in the model of each of the data's classes.

    Arrays count their classes: where the model has other names for them, they are its places. Some models count them,
    too, and the data has the names.
    """
    if len(have) == len(known) and tuple(known) == tuple(map(str, range(len(known)))) and not set(have) & set(known):
        return tuple(have), list(range(len(have)))
    place = {_key(name): i for i, name in enumerate(known)}
    strangers = [name for name in have if _key(name) not in place]
    if by_place and strangers == list(have) and len(have) <= len(known):
        return tuple(known), list(range(len(have)))
    if strangers:
        raise DataError(
            f"the data has class {strangers[0]!r:.60}, which the model does not know",
            f"it knows {', '.join(known[:10])}",
        )
    places = [place[_key(name)] for name in have]
    names = list(known)
    for name, at in zip(have, places, strict=True):
        names[at] = name
    return tuple(names), places


def _key(name: str) -> str:
    """Numbers are the same however they are written."""
    try:
        return repr(float(name))
    except ValueError:
        return name


def _numbers(material: Material) -> Material:
    try:
        values = [float(name) for name in material.labels]
    except ValueError as error:
        raise DataError(
            "the model gives numbers, the label column holds words", "give --label with the column it was trained on"
        ) from error
    found = _relabelled(material, (), lambda sample: replace(sample, label=values[int(sample.label or 0)]))
    dataset = replace(found.dataset, task="regression") if found.dataset else None
    return replace(found, task="regression", dataset=dataset)


def _relabelled(material: Material, labels: tuple[str, ...], change: Any) -> Material:
    """The same samples with other labels, wherever they are listed."""
    changed: dict[int, Sample] = {}

    def each(samples: Sequence[Sample]) -> tuple[Sample, ...]:
        for sample in samples:
            if id(sample) not in changed:
                changed[id(sample)] = sample if sample.label is None else change(sample)
        return tuple(changed[id(sample)] for sample in samples)

    dataset = material.dataset
    assert dataset is not None  # noqa: S101 - the callers looked
    splits: Mapping[str, Sequence[Sample]] = {name: each(samples) for name, samples in dataset.splits.items()}
    fitted: Dataset = replace(dataset, labels=labels, splits=splits)
    return replace(
        material,
        labels=labels,
        dataset=fitted,
        evaluation=each(material.evaluation),
        choosing=each(material.choosing),
        calibration=each(material.calibration),
        probes=each(material.probes),
    )


def classic_specification(material: Material, source: ClassicSource, text: str | None) -> Specification:
    """How a raw row reaches the model: columns in its order, categories as codes; or a column's text.

    Args:
        material: The samples.
        source: The model.
        text: Column with the text, where the model takes one.

    Raises:
        UsageError: The data is not rows, or does not have the model's columns, or not as many.
    """
    if material.kind not in ("table", "tensor"):
        raise UsageError(f"the model takes rows, not {material.kind} samples", "give --data TABLE.csv --label COLUMN")
    nothing = not material.columns and not material.probes
    if source.is_text:
        column = text or "text" if nothing else _text_column(material.columns, text)
        return Specification.from_data(SpecificationData("table", ({"step": "text", "column": column},)))
    if material.kind == "tensor" and not nothing:
        return Specification(kind="tensor")
    if not nothing:
        source.name_features(_names(material.columns, source))
    return _columns(source)


def text_specification(material: Material, source: Source, text: str | None) -> Specification:
    """How a row of a table, or a text alone, reaches a model that brings its own tokenizer.

    Args:
        material: The samples.
        source: The model.
        text: Column with the text.

    Raises:
        UsageError: The data holds no texts, or it is not said which column does.
    """
    known = source.specification
    assert known is not None  # noqa: S101 - the callers looked
    nothing = not material.columns and not material.probes
    if not nothing and material.kind != "table":
        raise UsageError(
            f"the model takes texts, not {material.kind} samples", "give --data TABLE.csv --text COLUMN --label COLUMN"
        )
    column = text or "text" if nothing else _text_column(material.columns, text)
    steps = ({"step": "text", "column": column}, *known.input)
    return Specification.from_data(SpecificationData("table", steps, known.output), source.files)


def _text_column(columns: Sequence[str], asked: str | None) -> str:
    if asked is None and len(columns) == 1:
        return columns[0]
    if asked is None or asked not in columns:
        said = "it is not said which column holds the text" if asked is None else f"there is no column {asked!r:.60}"
        raise UsageError(said, f"give --text with one of {', '.join(columns[:10])}")
    return asked


def _names(columns: Sequence[str], source: ClassicSource) -> tuple[str, ...]:
    """The table's columns in the order of the model's features."""
    wanted = tuple(f.name for f in source.features)
    missing = [name for name in wanted if name not in columns]
    if not missing:
        return wanted
    if all(_NAMELESS.fullmatch(name) for name in wanted):
        if len(wanted) != len(columns):
            raise UsageError(
                f"the model takes {len(wanted)} features, the table has {len(columns)} columns besides the label",
                "give the table that it was trained on",
            )
        return tuple(columns)
    raise UsageError(
        f"the model takes a feature {missing[0]!r:.60}, which the table has no column for",
        f"its columns are {', '.join(columns[:10])}",
    )


def _columns(source: ClassicSource) -> Specification:
    categories = {
        feature.name: [str(float(c)) if isinstance(c, (int, float)) else str(c) for c in feature.categories]
        for feature in source.features
        if feature.categories
    }
    names = [feature.name for feature in source.features]
    step = {"step": "columns", "names": names, "categories": categories, "dtype": source.inputs[0].dtype}
    return Specification.from_data(SpecificationData("table", (step,)))
