"""XGBoost's model documents, from a file (``.json``, ``.ubj``) or a live booster, read without trusting them.

The schema: xgboost's ``doc/model.schema``. Only what prediction needs is looked at.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit_converters.errors import ConversionError, SourceError
from edgekit_converters.plaincode.readers import ubjson
from edgekit_converters.plaincode.readers.forest import Tree, below32

_VERSIONS = (1, 2, 3)
_MOST_GROUPS = 65536
_MOST_CATEGORIES = 1 << 24  # xgboost's own bound
DAMAGED = "the model file is damaged, or of a version of xgboost that is not known here"


@dataclass(frozen=True)
class XGBoostFile:
    """A model saved by xgboost: what `reader.read` takes in place of the live object.

    Attributes:
        learner: Its document's ``learner``.
        title: For the header comment.
    """

    learner: dict[str, Any]
    title: str


@dataclass(frozen=True)
class Ensemble:
    """What a document says.

    Attributes:
        trees: All of them, in the order in which they are added; leaves as float32, DART's weights not yet applied.
        outputs: (trees,) output of each; empty where leaves are vectors.
        rounds: Trees of the first 0, 1, 2, … rounds.
        weights: (trees,) float32 DART weights, or None.
        base_score: (outputs,) float32, as saved: on the scale of the answers, not of the sum.
        objective: Its name.
        estimator: ``classifier``, ``regressor``, ``ranker``: what kind of estimator saved it; empty for a booster.
        best_round: Round that early stopping chose, or -1.
        classes: Number of classes; 0 for none.
        categories: What the codes of a column mean, where the document says so.
    """

    trees: list[Tree]
    outputs: np.ndarray
    rounds: np.ndarray
    weights: np.ndarray | None
    base_score: np.ndarray
    objective: str
    estimator: str
    best_round: int
    classes: int
    categories: dict[int, tuple[str | float, ...]]


def load(path: Path) -> XGBoostFile:
    """A model file.

    Raises:
        SourceError: It is no model of xgboost, or damaged.
    """
    data = path.read_bytes()
    try:
        document = json.loads(data) if path.suffix == ".json" else ubjson.parse(data)
    except (ValueError, RecursionError) as e:
        raise SourceError(f"{path.name} is not JSON: {str(e)[:80]}", "save it again with save_model") from None
    return from_document(document)


def from_booster(booster: Any) -> XGBoostFile:
    """The document of a live booster."""
    return from_document(ubjson.parse(bytes(booster.save_raw("ubj"))))


def from_document(document: Any) -> XGBoostFile:
    """The model in a parsed document.

    Raises:
        SourceError: It is none, or of an unknown version.
    """
    learner = document.get("learner") if isinstance(document, dict) else None
    if not isinstance(learner, dict):
        raise SourceError("the file is no model of xgboost: it has no learner", "give one that save_model wrote")
    try:
        version = [int(v) for v in document["version"]]
        major = version[0]
    except (KeyError, TypeError, ValueError, IndexError):
        raise SourceError("the model does not say which xgboost saved it", DAMAGED) from None
    if major not in _VERSIONS:
        raise SourceError(f"the model was saved by xgboost {major}", "save it with xgboost 1, 2 or 3")
    return XGBoostFile(learner, f"a model of xgboost {'.'.join(map(str, version))}")


def ensemble(file: XGBoostFile) -> Ensemble:
    """What the document says, checked.

    Raises:
        ConversionError: It is damaged, or not a model of trees.
    """
    try:
        return _ensemble(file.learner)
    except (KeyError, TypeError, ValueError, OverflowError, IndexError, AttributeError) as e:
        reason = f"{type(e).__name__} {str(e)[:60]}"
        raise ConversionError(f"the model of xgboost cannot be understood ({reason})", DAMAGED) from None


def _ensemble(learner: dict[str, Any]) -> Ensemble:
    booster, weights = learner["gradient_booster"], None
    if booster["name"] == "dart":
        weights, booster = np.asarray(booster["weight_drop"], np.float32), booster["gbtree"]
    if booster["name"] != "gbtree":
        raise ConversionError(
            f"xgboost's booster {str(booster['name'])!r:.40} cannot be turned into plain code", "use gbtree or dart"
        )
    model, parameters = booster["model"], learner["learner_model_param"]
    classes = int(parameters["num_class"])
    groups = max(classes, int(parameters.get("num_target", "1")), 1)
    if groups > _MOST_GROUPS:
        raise ValueError(f"{groups} outputs")
    trees = [_tree(t) for t in model["trees"]]
    outputs = np.asarray(model["tree_info"], np.int64)
    if len(outputs) != len(trees) or (weights is not None and len(weights) != len(trees)):
        raise ValueError("tree_info is of another length than trees")
    if trees and (outputs.min() < 0 or outputs.max() >= groups):
        raise ValueError("tree_info names an output that there is not")
    vectors = any(t.values.ndim > 1 for t in trees)
    per_round = int(model["gbtree_model_param"].get("num_parallel_tree", "1")) * (1 if vectors else groups)
    rounds = model.get("iteration_indptr")
    if rounds is None:
        rounds = range(0, len(trees) + 1, max(per_round, 1))
    base = np.atleast_1d(np.asarray(json.loads(parameters["base_score"]), np.float32))
    attributes = learner.get("attributes", {})
    estimator = json.loads(attributes["scikit_learn"]) if "scikit_learn" in attributes else {}
    return Ensemble(
        trees=trees,
        outputs=outputs[:0] if vectors else outputs,
        rounds=np.asarray(rounds, np.int64),
        weights=weights,
        base_score=np.broadcast_to(base, groups),
        objective=str(learner["objective"]["name"]),
        estimator=str(estimator.get("_estimator_type", "")),
        best_round=int(attributes.get("best_iteration", -1)),
        classes=classes,
        categories=_categories(model.get("cats", {})),
    )


def _column(tree: dict[str, Any], name: str, kind: Any, size: int) -> np.ndarray:
    found = np.asarray(tree[name])
    if found.ndim != 1 or len(found) != size or (size and found.dtype.kind not in "biuf"):
        raise ValueError(f"{name} is no list of {size} numbers")
    with np.errstate(over="ignore"):  # infinity is refused where thresholds and leaves are checked
        return found.astype(kind)


def _tree(tree: dict[str, Any]) -> Tree:
    size = len(tree["left_children"])
    left, right = _column(tree, "left_children", np.int64, size), _column(tree, "right_children", np.int64, size)
    condition = _column(tree, "split_conditions", np.float32, size)
    missing_left = _column(tree, "default_left", np.bool_, size)
    values = condition
    if int(tree["tree_param"].get("size_leaf_vector", "1")) > 1:
        vectors = np.asarray(tree["leaf_weights"], np.float32)
        vectors = vectors.reshape(-1, int(tree["tree_param"]["size_leaf_vector"]))
        values = vectors[np.where(left == -1, right, 0)]
    threshold = below32(condition)
    category = np.full(size, -1, np.int64)
    nodes = np.asarray(tree.get("categories_nodes", ()), np.int64)
    sets: list[tuple[int, ...]] = []
    if len(nodes):
        # A row whose category is in the set goes right; ours go left. So the children change places.
        sets = _sets(tree, len(nodes))
        category[nodes] = np.arange(len(nodes))
        left[nodes], right[nodes] = right[nodes].copy(), left[nodes].copy()
        missing_left[nodes] = ~missing_left[nodes]
        threshold[nodes] = 0.0
    return Tree(
        left=left,
        right=right,
        feature=_column(tree, "split_indices", np.int64, size),
        threshold=np.where(left == -1, 0.0, threshold),
        missing_left=missing_left,
        values=values,
        category_set=category if sets else None,
        sets=sets,
    )


def _sets(tree: dict[str, Any], count: int) -> list[tuple[int, ...]]:
    members = np.asarray(tree["categories"], np.int64)
    starts = _column(tree, "categories_segments", np.int64, count)
    sizes = _column(tree, "categories_sizes", np.int64, count)
    if members.size and (members.min() < 0 or members.max() >= _MOST_CATEGORIES):
        raise ValueError("a category is out of range")
    if (starts < 0).any() or (sizes < 0).any() or (starts + sizes > len(members)).any():
        raise ValueError("categories_segments lie outside categories")
    return [tuple(sorted(set(members[s : s + n].tolist()))) for s, n in zip(starts, sizes, strict=True)]


def _categories(cats: dict[str, Any]) -> dict[int, tuple[str | float, ...]]:
    """Column to the values that its codes stand for (saved since 3.1 for data frames)."""
    found: dict[int, tuple[str | float, ...]] = {}
    for column, entry in enumerate(cats.get("enc", ())):
        values = np.asarray(entry.get("values", ()))
        if "offsets" in entry:
            starts = np.asarray(entry["offsets"], np.int64).tolist()
            letters = values.astype(np.uint8).tobytes()
            names = [letters[a:b].decode("utf-8", "replace") for a, b in itertools.pairwise(starts)]
            found[column] = tuple(names)
        else:
            found[column] = tuple(values.tolist())
    return {c: v for c, v in found.items() if v}
