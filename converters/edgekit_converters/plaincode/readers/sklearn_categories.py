"""Encoders of categories: texts become codes that a caller gives, numbers stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.reader import Part
from edgekit_converters.plaincode.readers import sklearn_common as common


def is_missing(value: Any) -> bool:
    """Whether a category stands for a missing value: None, NaN or pandas.NA."""
    return value is None or (isinstance(value, float) and np.isnan(value)) or type(value).__name__ == "NAType"


def codes(builder: ir.Builder, source: ir.Register, column: int, categories: Sequence[Any]) -> np.ndarray:
    """The numbers by which a register's column says `categories`: themselves, or codes where some are texts.

    Texts are entered into the raw feature's categories.

    Raises:
        ConversionError: Texts that do not come from a raw feature as they are, or that are mixed with numbers.
    """
    plain = [c.item() if isinstance(c, np.generic) else c for c in categories]
    if sum(is_missing(c) for c in plain) > 1:
        raise ConversionError("a column has both None and NaN for missing values", "use one of them and fit it again")
    present = [c for c in plain if not is_missing(c)]
    if all(isinstance(c, bool | int | float) for c in present):
        return np.array([np.nan if is_missing(c) else float(c) for c in plain])
    if not all(isinstance(c, str) for c in present):
        strange = next(c for c in present if not isinstance(c, str))
        raise ConversionError(f"a column of texts has the category {strange!r:.40}", "make all of them texts")
    place = builder.origin(source, column)
    if place is None:
        raise ConversionError(
            f"the category {present[0]!r:.40} is of a column that another step has made", "encode the raw column"
        )
    feature = builder.features[place]
    known = feature.categories + tuple(c for c in present if c not in feature.categories)
    builder.features[place] = replace(feature, kind=ir.CATEGORY, categories=known)
    return np.array([np.nan if is_missing(c) else float(known.index(c)) for c in plain])


def _takes_missing(builder: ir.Builder, source: ir.Register, column: int, values: np.ndarray, encoder: Any) -> None:
    if encoder.handle_unknown != "error" or np.isnan(values).any():
        builder.takes_missing(source, (column,))


def _grouped(encoder: Any, column: int, count: int) -> np.ndarray:
    """Category to its place once infrequent ones are one, the last."""
    mappings = encoder._default_to_infrequent_mappings if encoder._infrequent_enabled else None
    mapping = None if mappings is None else mappings[column]
    if mapping is None:
        return np.arange(count)
    # OrdinalEncoder leaves out missing values, which come last.
    return np.append(mapping, np.arange(len(mapping), count)).astype(np.int64)


def _one_hot_column(builder: ir.Builder, encoder: Any, source: ir.Register, column: int) -> ir.Register:
    numbers = codes(builder, source, column, encoder.categories_[column])
    _takes_missing(builder, source, column, numbers, encoder)
    group = _grouped(encoder, column, len(numbers))
    dropped = encoder._drop_idx_after_grouping
    drop = None if dropped is None else dropped[column]
    # An unknown value is an infrequent one only where the setting says so and there are any; else it is all zeros.
    infrequent = encoder._infrequent_enabled and encoder._infrequent_indices[column] is not None
    unknown = int(group.max()) if infrequent and encoder.handle_unknown in ("infrequent_if_exist", "warn") else None
    width = int(group.max()) + 1
    if drop is not None:
        place = np.where(group == drop, -1, group - (group > drop))
        if unknown is not None:
            unknown = None if unknown == drop else unknown - (unknown > drop)
        width -= 1
    else:
        place = group
    if unknown is None and len(set(place.tolist()) - {-1}) == (place >= 0).sum():
        order = np.argsort(place)
        return builder.add(ir.Encode(source, column, numbers[order][place[order] >= 0]))
    other = -1.0 if unknown is None else float(unknown)
    grouped = builder.add(ir.Replace(source, column, numbers, place.astype(np.float64), other))
    return builder.add(ir.Encode(grouped, 0, np.arange(float(width))))


def _one_hot(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    parts = [_one_hot_column(builder, model, source, column) for column in range(source.width)]
    return common.transform(common.joined(builder, parts), exact=True)


def _ordinal_column(builder: ir.Builder, encoder: Any, source: ir.Register, column: int) -> ir.Register:
    numbers = codes(builder, source, column, encoder.categories_[column])
    _takes_missing(builder, source, column, numbers, encoder)
    places = _grouped(encoder, column, len(numbers)).astype(np.float64)
    places[np.isnan(numbers)] = encoder.encoded_missing_value
    unknown = float(encoder.unknown_value) if encoder.handle_unknown == "use_encoded_value" else float("nan")
    return builder.add(ir.Replace(source, column, numbers, places, unknown))


def _ordinal(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    parts = [_ordinal_column(builder, model, source, column) for column in range(source.width)]
    return common.transform(common.joined(builder, parts), exact=True)


def _target(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    several = model.target_type_ == "multiclass"
    kinds = len(model.classes_) if several else 1
    parts = []
    for column in range(source.width):
        numbers = codes(builder, source, column, model.categories_[column])
        builder.takes_missing(source, (column,))
        for kind in range(kinds):
            learnt = common.array(model.encodings_[column * kinds + kind])
            other = float(model.target_mean_[kind] if several else model.target_mean_)
            parts.append(builder.add(ir.Replace(source, column, numbers, learnt, other)))
    return common.transform(common.joined(builder, parts), exact=True)


def _bins(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    parts = []
    for column, edges in enumerate(model.bin_edges_):
        place = common.place_among(builder, source, column, common.array(edges)[1:-1])
        if model.encode != "ordinal":
            place = builder.add(ir.Encode(place, 0, np.arange(float(model.n_bins_[column]))))
        parts.append(place)
    return common.transform(common.joined(builder, parts), exact=True)


READS = common.table(
    {"OneHotEncoder": _one_hot, "OrdinalEncoder": _ordinal, "TargetEncoder": _target, "KBinsDiscretizer": _bins}
)
