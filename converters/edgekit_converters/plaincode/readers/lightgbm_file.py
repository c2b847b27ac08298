"""LightGBM's text format (``model.txt``, ``Booster.model_to_string``), read without trusting it.

Sections of ``name=value`` lines: a header, one section a tree, the parameters, and what pandas' categories were.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit_converters.errors import ConversionError, SourceError
from edgekit_converters.plaincode.readers.forest import LARGEST64, Tree

_VERSIONS = ("v2", "v3", "v4")
_MOST_OUTPUTS = 65536
_NONE, _ZERO, _NAN = 0, 1, 2
_CATEGORICAL, _DEFAULT_LEFT = 1, 2
ZERO = float(np.float32(1e-35))
"""Numbers up to here are 0 to LightGBM (``kZeroThreshold``, a float)."""
DAMAGED = "the model file is damaged, or of a version of LightGBM that is not known here"


@dataclass(frozen=True)
class LightGBMFile:
    """A model saved by LightGBM: what `reader.read` takes in place of the live object.

    Attributes:
        text: The whole file.
        title: For the header comment.
    """

    text: str
    title: str = "a model of LightGBM"


@dataclass(frozen=True)
class Ensemble:
    """What a file says.

    Attributes:
        trees: In the order in which they are added.
        zero_missing: For each tree, (nodes,) bool: a 0 is a missing value there.
        outputs: Trees of one round, one for each output.
        average: Whether answers are averaged over rounds (random forests).
        objective: Its words, the name first; empty where the user's own objective was trained.
        features: Number of features.
        categories: Column to what its codes stand for, where a data frame of pandas was trained on.
    """

    trees: list[Tree]
    zero_missing: list[np.ndarray]
    outputs: int
    average: bool
    objective: tuple[str, ...]
    features: int
    categories: dict[int, tuple[str | float, ...]]


def load(path: Path) -> LightGBMFile:
    """A model file.

    Raises:
        SourceError: It is no model of LightGBM.
    """
    text = path.read_bytes().decode("utf-8", "replace")
    if not text.startswith("tree\n") and not text.startswith("tree\r\n"):
        raise SourceError(f"{path.name} is no model of LightGBM", "give one that save_model wrote")
    return LightGBMFile(text.replace("\r\n", "\n"))


def ensemble(file: LightGBMFile) -> Ensemble:
    """What the file says, checked.

    Raises:
        ConversionError: It is damaged, or says what cannot be turned into plain code.
    """
    try:
        return _ensemble(file.text)
    except (KeyError, TypeError, ValueError, OverflowError, IndexError, RecursionError) as e:
        reason = f"{type(e).__name__} {str(e)[:60]}"
        raise ConversionError(f"the model of LightGBM cannot be understood ({reason})", DAMAGED) from None


def _ensemble(text: str) -> Ensemble:
    body, ended, rest = text.partition("\nend of trees")
    if not ended:
        raise ValueError("the trees have no end")
    header_text, *sections = re.split(r"\nTree=\d+\n", body)
    header = _lines(header_text)
    if header["version"] not in _VERSIONS:
        raise ConversionError(f"LightGBM's model format {header['version']!r:.20} is not known", "save it with 3 or 4")
    features, outputs = int(header["max_feature_idx"]) + 1, int(header["num_tree_per_iteration"])
    if not 0 < outputs <= _MOST_OUTPUTS or len(sections) % outputs:
        raise ValueError(f"{len(sections)} trees for {outputs} outputs")
    read = [_tree(_lines(s)) for s in sections]
    return Ensemble(
        trees=[tree for tree, _ in read],
        zero_missing=[zero for _, zero in read],
        outputs=outputs,
        average="average_output" in header,
        objective=tuple(header.get("objective", "").split()),
        features=features,
        categories=_categories(rest, header.get("feature_infos", "").split()),
    )


def _lines(section: str) -> dict[str, str]:
    found = {}
    for line in section.splitlines():
        name, _, value = line.partition("=")
        found[name] = value
    return found


def _numbers(section: dict[str, str], name: str, count: int, kind: type = float) -> np.ndarray:
    words = section.get(name, "").split()
    if len(words) != count:
        raise ValueError(f"{name} has {len(words)} values instead of {count}")
    return np.array(words, np.float64 if kind is float else np.int64)


def _tree(section: dict[str, str]) -> tuple[Tree, np.ndarray]:
    """A tree, its inner nodes first, then its leaves; and where a 0 is a missing value."""
    leaves = int(section["num_leaves"])
    if section.get("is_linear", "0") != "0":
        raise ConversionError(
            "LightGBM's linear trees cannot be turned into plain code", "train with linear_tree=false"
        )
    inner = leaves - 1
    value = _numbers(section, "leaf_value", leaves)
    feature = _numbers(section, "split_feature", inner, int)
    threshold = _numbers(section, "threshold", inner)
    decision = _numbers(section, "decision_type", inner, int)
    children = [_numbers(section, name, inner, int) for name in ("left_child", "right_child")]
    left, right = (np.where(c < 0, inner - 1 - c, c) for c in children)
    category = (decision & _CATEGORICAL) > 0
    missing = (decision >> 2) & 3
    if (missing > _NAN).any():
        raise ValueError("decision_type names an unknown kind of missing value")
    # Where no value is missing, NaN counts as 0; in a category node it is never in the set.
    missing_left = np.where(missing == _NONE, threshold >= 0, (decision & _DEFAULT_LEFT) > 0) & ~category
    sets = _sets(section) if category.any() else []
    tail = np.zeros(leaves)
    category_set = np.concatenate([np.where(category, np.where(category, threshold, 0), -1), tail - 1])
    if (category_set >= len(sets)).any():
        raise ValueError("a category node has no set")
    tree = Tree(
        left=np.concatenate([left, tail - 1]).astype(np.int64),
        right=np.concatenate([right, tail - 1]).astype(np.int64),
        feature=np.concatenate([feature, tail]).astype(np.int64),
        threshold=np.concatenate([np.where(category, 0.0, _beyond_zero(threshold)), tail]),
        missing_left=np.concatenate([missing_left, tail > 0]),
        values=np.concatenate([np.zeros(inner), value]),
        category_set=category_set.astype(np.int64) if sets else None,
        sets=sets,
    )
    return tree, np.concatenate([(missing == _ZERO) & ~category, tail > 0])


def _beyond_zero(threshold: np.ndarray) -> np.ndarray:
    """Thresholds that ask of x what LightGBM's ask of x with all that counts as 0 (up to `ZERO`) made 0.

    Its prediction drops such values from the row. Infinity, which parts missing values from others, becomes finite.
    """
    found = np.where((threshold >= -ZERO) & (threshold < 0), np.nextafter(-ZERO, -np.inf), threshold)
    return np.minimum(np.where((found >= 0) & (found < ZERO), ZERO, found), LARGEST64)


def _sets(section: dict[str, str]) -> list[tuple[int, ...]]:
    bounds = _numbers(section, "cat_boundaries", int(section["num_cat"]) + 1, int)
    words = np.array(section["cat_threshold"].split(), np.uint32)
    if bounds[0] != 0 or bounds[-1] != len(words) or (np.diff(bounds) < 0).any():
        raise ValueError("cat_boundaries do not divide cat_threshold")
    bits = np.unpackbits(words.astype("<u4").view(np.uint8), bitorder="little")
    return [
        tuple(np.flatnonzero(bits[32 * start : 32 * end]).tolist())
        for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
    ]


def _categories(rest: str, infos: list[str]) -> dict[int, tuple[str | float, ...]]:
    """Columns of pandas' categories: the parameters name them, or their infos list values (``1:0:2``) not ranges."""
    said = re.search(r"^pandas_categorical:(.*)$", rest, re.MULTILINE)
    values = json.loads(said[1]) if said else None
    if not values:
        return {}
    named = re.search(r"^\[categorical_feature: ([\d,]+)\]$", rest, re.MULTILINE)
    columns = sorted(map(int, named[1].split(","))) if named else []
    if len(columns) != len(values):
        columns = [i for i, info in enumerate(infos) if info != "none" and not info.startswith("[")]
    if len(columns) != len(values):
        raise ConversionError(
            "the model does not say which columns its categories belong to", "give it categories as whole numbers"
        )
    return {column: tuple(v) for column, v in zip(columns, values, strict=True)}
