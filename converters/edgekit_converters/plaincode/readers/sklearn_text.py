"""Vectorizers: a text in, weighted counts of its n-grams out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgekit_converters.errors import ConversionError
from edgekit_converters.plaincode import ir
from edgekit_converters.plaincode.reader import Part
from edgekit_converters.plaincode.readers import sklearn_common as common

_PATTERNS = {r"(?u)\b\w\w+\b": False, r"(?u)\b\w+\b": True}
_SMALLEST_ITEM = 4  # bytes: counts of narrower types would wrap round


def _text(builder: ir.Builder, model: Any, source: ir.Register) -> None:
    """Note that the input is a raw text."""
    place = builder.origin(source, 0) if source.width == 1 else None
    if place is None or builder.features[place].categories:
        raise ConversionError(
            f"{type(model).__name__} takes one raw text and is given something else", "give it one text column"
        )
    builder.features[place] = replace(builder.features[place], kind=ir.TEXT)


def _refuse(model: Any) -> None:
    """Settings that change how texts are taken apart in ways that the code does not know."""
    for setting in ("preprocessor", "tokenizer", "strip_accents"):
        if getattr(model, setting) is not None:
            raise common.unsupported(model, setting, getattr(model, setting), f"leave {setting} out")
    if model.analyzer not in ("word", "char", "char_wb"):
        raise common.unsupported(model, "analyzer", model.analyzer, "use analyzer='word', 'char' or 'char_wb'")
    if model.analyzer == "word" and model.token_pattern not in _PATTERNS:
        raise common.unsupported(model, "token_pattern", model.token_pattern, f"use one of {', '.join(_PATTERNS)}")
    if model.input != "content":
        raise common.unsupported(model, "input", model.input, "let it take the text itself")
    if np.dtype(model.dtype).itemsize < _SMALLEST_ITEM:
        raise common.unsupported(model, "dtype", model.dtype, "use a type of at least 32 bits")


def _words(builder: ir.Builder, model: Any, source: ir.Register, size: int, **settings: Any) -> ir.Register:
    _refuse(model)
    _text(builder, model, source)
    word = model.analyzer == "word"
    low, high = model.ngram_range
    return builder.add(
        ir.Words(
            source,
            size,
            analyzer=model.analyzer,
            ngrams=(int(low), int(high)),
            lowercase=bool(model.lowercase),
            binary=bool(model.binary),
            stop_words=frozenset(model.get_stop_words() or ()) if word else frozenset(),
            single_letters=word and _PATTERNS[model.token_pattern],
            **settings,
        )
    )


def _hashing(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    counts = _words(
        builder, model, source, int(model.n_features), alternate_sign=bool(model.alternate_sign), norm=model.norm or ""
    )
    return common.transform(counts)


def _vocabulary(model: Any) -> dict[str, int]:
    return {str(gram): int(column) for gram, column in model.vocabulary_.items()}


def _count(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    vocabulary = _vocabulary(model)
    return common.transform(
        _words(builder, model, source, len(vocabulary), vocabulary=vocabulary), exact=True
    )  # fmt: skip


def _tfidf(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    vocabulary = _vocabulary(model)
    counts = _words(
        builder, model, source, len(vocabulary), vocabulary=vocabulary, sublinear=bool(model.sublinear_tf),
        norm=model.norm or "", weights=common.array(model.idf_) if model.use_idf else None,
    )  # fmt: skip
    return common.transform(counts)


def _reweighted(builder: ir.Builder, model: Any, source: ir.Register) -> Part:
    """TfidfTransformer: goes into the counting step before it where there is one without weights."""
    weights = common.array(model.idf_) if model.use_idf else None
    before = builder.steps[source.index - 1] if source.index else None
    if isinstance(before, ir.Words) and before.weights is None and not before.norm and not before.sublinear:
        sublinear = bool(model.sublinear_tf)
        return common.transform(
            builder.add(replace(before, weights=weights, sublinear=sublinear, norm=model.norm or ""))
        )  # fmt: skip
    if model.sublinear_tf:
        raise common.unsupported(model, "sublinear_tf", True, "put it right behind a CountVectorizer")
    if weights is not None:
        source = builder.add(ir.Affine(source, multiply=weights))
    return common.transform(builder.add(ir.Normalize(source, model.norm)) if model.norm else source)


def chosen_words(builder: ir.Builder, source: ir.Register, chosen: Sequence[int]) -> ir.Register | None:
    """Some columns of a counting step, by counting those words only; None where the others are needed (or unknown)."""
    before = builder.steps[source.index - 1] if source.index else None
    if not isinstance(before, ir.Words) or before.vocabulary is None or before.norm:
        return None
    place = {int(column): i for i, column in enumerate(chosen)}
    vocabulary = {gram: place[column] for gram, column in before.vocabulary.items() if column in place}
    weights = None if before.weights is None else before.weights[list(place)]
    return builder.add(replace(before, size=len(place), vocabulary=vocabulary, weights=weights))


READS = common.table(
    {
        "CountVectorizer": _count,
        "HashingVectorizer": _hashing,
        "TfidfTransformer": _reweighted,
        "TfidfVectorizer": _tfidf,
    }
)
