"""Tables: classic models of scikit-learn, XGBoost and LightGBM, cross-validated, then fitted on every example."""

from __future__ import annotations

import importlib.util
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgekit_converters.errors import MissingRequirement, TrainingError, UsageError
from edgekit_converters.files import versions
from edgekit_converters.quiet import quiet
from edgekit_converters.train.config import TrainConfig
from edgekit_converters.train.material import Example, TrainMaterial, class_weights
from edgekit_converters.train.table_models import BACKBONES, backbone, estimator, pipeline, rounds
from edgekit_converters.train.trainer import Trained, Trainer, Watch
from edgekit_runtime.atomic import replacing

_FOLDS = 5
_OURS = ("folds", "groups")
_STATE = "folds.json"


@dataclass(frozen=True)
class _Table:
    """Examples as arrays.

    Attributes:
        names: Feature names.
        words: Places of the columns that hold words.
        rows: (examples, features) float64 with NaN, or objects where there are words.
        targets: (examples,) class indices or numbers.
        weights: (examples,) in the loss.
        groups: (examples,) group of each; None where there are none.
        learnt: (examples,) whether it is a training example rather than a validation one.
    """

    names: tuple[str, ...]
    words: tuple[int, ...]
    rows: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    groups: np.ndarray | None
    learnt: np.ndarray

    @property
    def numeric(self) -> tuple[int, ...]:
        return tuple(i for i in range(len(self.names)) if i not in self.words)


class TableTrainer(Trainer):
    """``--task table``."""

    task = "table"
    defaults: ClassVar[Mapping[str, Any]] = {"patience": 20}
    backbones: ClassVar[Mapping[str, str]] = {name: b.words for name, b in BACKBONES.items()}

    def fit(self, config: TrainConfig, material: TrainMaterial, run: Path, watch: Watch) -> Trained:
        """Each fold counts as an epoch, the last fit on every example as one more.

        Options: ``folds`` (5), ``groups`` (column whose rows of one value stay in one fold, and which is no feature),
        and every setting of the estimator. How many rounds boosting takes is chosen by the validation examples.
        """
        if importlib.util.find_spec("skops") is None:
            raise MissingRequirement("skops is not installed", 'pip install "edgekit[trees]"')
        material.require(self.task, ("table",), ("classification", "regression"))
        name = config.backbone or next(iter(BACKBONES))
        if config.weights is not None:
            raise UsageError("classic models are trained from scratch", "leave --weights out")
        numbers = material.target == "regression"
        options = {n: v for n, v in config.options.items() if n not in _OURS}
        settings: dict[str, Any] = dict(options)
        estimator(name, numbers, config.seed, settings)
        table = _table(material, config, watch)
        if (limit := backbone(name).rounds) and limit not in settings:
            settings[limit] = _rounds(name, table, config, numbers, settings)
            watch.say(f"{settings[limit]} rounds of boosting do best on the validation samples")
            if name == "hist-gradient":
                settings.setdefault("early_stopping", False)
        fitter = _Fitter(name, config.seed, numbers, settings, material.labels)
        folds = _folds(table, config, numbers)
        scores = _cross_validate(fitter, table, folds, run, watch)
        with quiet():
            model = fitter.fit(table, np.arange(len(table.rows)))
        low, high = interval(scores, len(folds))
        metrics = {fitter.metric: float(np.mean(scores)), "low": low, "high": high}
        watch.say(f"{fitter.metric} {np.mean(scores):.4f}, 95 % interval {low:.4f} to {high:.4f} by {len(folds)} folds")
        watch.epoch(len(folds) + 1, len(folds) + 1, {f"val_{fitter.metric}": float(np.mean(scores))})
        path = _save(model, name, run, table.names, watch)
        tools = versions("scikit-learn", {"xgboost": "xgboost-cpu"}.get(name, name), "skops")
        return Trained(path, {}, metrics, len(folds) + 1, tools)


@dataclass(frozen=True)
class _Fitter:
    """Fits one kind of model and scores it."""

    name: str
    seed: int
    numbers: bool
    settings: Mapping[str, Any]
    labels: Sequence[str]

    @property
    def metric(self) -> str:
        return "r2" if self.numbers else "accuracy"

    def fit(self, table: _Table, places: np.ndarray) -> Any:
        """A model of some rows, with its classes by name (XGBoost counts them)."""
        model = estimator(self.name, self.numbers, self.seed, self.settings)
        whole = pipeline(self.name, model, table.numeric, table.words)
        targets = table.targets[places]
        if not self.numbers and self.name != "xgboost":
            targets = np.array([self.labels[int(t)] for t in targets])
        weights = {"sample_weight" if whole is model else "model__sample_weight": table.weights[places]}
        more = (
            {"feature_name": list(table.names)}
            if self.name == "lightgbm" and whole is model and _plain(table.names)
            else {}
        )
        whole.fit(table.rows[places], targets, **weights, **more)
        return whole

    def score(self, table: _Table, learnt: np.ndarray, held: np.ndarray) -> float:
        """Accuracy or the share of variance explained, on rows held out of the fit."""
        if self.name == "xgboost" and not self.numbers:
            seen = np.unique(table.targets[learnt])  # it wants classes without gaps
            places = np.searchsorted(seen, table.targets)
            counted = _Table(table.names, table.words, table.rows, places, table.weights, None, table.learnt)
            found = seen[self.fit(counted, learnt).predict(table.rows[held]).astype(int)]
            return float((found == table.targets[held]).mean())
        found = self.fit(table, learnt).predict(table.rows[held])
        expected = table.targets[held]
        if not self.numbers:
            return float((found == np.array([self.labels[int(t)] for t in expected])).mean())
        from sklearn.metrics import r2_score

        return float(r2_score(expected, found))


def interval(scores: Sequence[float], folds: int) -> tuple[float, float]:
    """95 % interval of a cross-validated mean.

    Folds share training rows, so their spread says too little: the corrected variance of Nadeau and Bengio (2003),
    ``(1 / k + held / learnt) * s²``, with Student's t.

    Args:
        scores: One a fold.
        folds: How many there were.
    """
    from scipy.stats import t

    mean = float(np.mean(scores))
    if len(scores) < 2:
        return -math.inf, math.inf
    deviation = float(np.std(scores, ddof=1)) * math.sqrt(1 / folds + 1 / (folds - 1))
    half = float(t.ppf(0.975, folds - 1)) * deviation
    return mean - half, min(mean + half, 1.0)  # both scores end there


def _plain(names: Sequence[str]) -> bool:
    """Whether LightGBM keeps names as they are; others would be changed, so features go by their place then."""
    return all(re.fullmatch(r"\w+", name, re.ASCII) for name in names)


def _table(material: TrainMaterial, config: TrainConfig, watch: Watch) -> _Table:
    """The examples as arrays, after a look for what cannot be learnt from."""
    examples: list[Example] = [*material.train, *material.validation]
    raws: list[Mapping[str, Any]] = [e.load() for e in examples]
    grouped = config.option("groups", "")
    if grouped and grouped not in material.columns:
        raise UsageError(f"there is no column {grouped!r:.60} to group by", f"there are {', '.join(material.columns)}")
    names = tuple(c for c in material.columns if c != grouped)
    if not names:
        raise TrainingError("the table has no columns besides the label", "add features")
    words = tuple(i for i, c in enumerate(names) if any(isinstance(r[c], str) for r in raws))
    rows: np.ndarray = np.empty((len(raws), len(names)), object if words else np.float64)
    for place, name in enumerate(names):
        values = [r[name] for r in raws]
        if all(v is None for v in values):
            raise TrainingError(f"column {name!r:.60} is empty in every sample", "leave it out")
        if len({v for v in values if v is not None}) == 1 and None not in values:
            watch.say(f"column {name} is the same in every sample: nothing can be learnt from it")
        rows[:, place] = [np.nan if v is None else v for v in values]
    targets = np.array([e.label for e in examples], np.float64 if material.target == "regression" else np.int64)
    weights = np.ones(len(examples))
    if material.target == "regression":
        if np.ptp(targets) == 0:
            raise TrainingError("the label is the same in every sample", "there is nothing to predict")
    else:
        _check_classes(Counter(targets.tolist()), material.labels, config.backbone, watch)
        if config.class_weights:
            weights = np.array(class_weights(examples, len(material.labels)))[targets]
    groups = np.array([str(r[grouped]) for r in raws]) if grouped else None
    learnt = np.arange(len(examples)) < len(material.train)
    return _Table(names, words, rows, targets, weights, groups, learnt)


def _check_classes(counts: Mapping[int, int], labels: Sequence[str], name: str, watch: Watch) -> None:
    single = [labels[i] for i, count in counts.items() if count == 1]
    if single:
        watch.say(f"class {single[0]} has one sample only: no fold can both learn and measure it")
    absent = [label for i, label in enumerate(labels) if not counts.get(i)]
    if absent and name == "xgboost":
        raise TrainingError(f"class {absent[0]!r:.60} has no training sample", "leave it out of the labels")


def _rounds(name: str, table: _Table, config: TrainConfig, numbers: bool, settings: Mapping[str, Any]) -> int:
    model = estimator(name, numbers, config.seed, settings)
    learnt, held = np.flatnonzero(table.learnt), np.flatnonzero(~table.learnt)
    targets = table.targets
    if not numbers:  # boosters count the classes of the training samples, and know no others
        seen = np.unique(targets[learnt])
        held = held[np.isin(targets[held], seen)]
        targets = np.searchsorted(seen, targets)
    if not len(held):
        raise TrainingError("no validation sample is of a class that the training samples have", "add samples")
    whole = pipeline(name, model, table.numeric, table.words)
    given = table.rows if whole is model else whole[:-1].fit(table.rows[learnt]).transform(table.rows)
    given = np.asarray(given, np.float64)
    with quiet():
        return rounds(name, model, (given[learnt], targets[learnt], table.weights[learnt]),
                      (given[held], targets[held]), config.patience or 20)  # fmt: skip


def _folds(table: _Table, config: TrainConfig, numbers: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """(learnt, held out) rows of each fold: classes evenly spread, groups never split."""
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    count = int(config.option("folds", _FOLDS))
    most = len(set(table.groups.tolist())) if table.groups is not None else len(table.rows)
    if count < 2 or count > most:
        what = "samples" if table.groups is None else "groups"
        raise UsageError(f"{count} folds of {most} {what} are not possible", f"give --option folds=2 to {most}")
    shuffled = {"shuffle": True, "random_state": config.seed}
    if table.groups is not None:
        splitter = GroupKFold(count, **shuffled) if numbers else StratifiedGroupKFold(count, **shuffled)
    else:
        fewest = min(Counter(table.targets.tolist()).values())
        splitter = KFold(count, **shuffled) if numbers or fewest < 2 else StratifiedKFold(count, **shuffled)
    with quiet():
        return [(a, b) for a, b in splitter.split(table.rows, table.targets, table.groups)]


def _cross_validate(
    fitter: _Fitter, table: _Table, folds: Sequence[tuple[np.ndarray, np.ndarray]], run: Path, watch: Watch
) -> list[float]:
    """A score for each fold; those that an interrupted call measured are not measured again."""
    path = run / _STATE
    scores: list[float] = json.loads(path.read_text("utf-8")) if path.is_file() else []
    for number in range(len(scores), len(folds)):
        learnt, held = folds[number]
        with quiet():
            score = fitter.score(table, learnt, held)
        go_on = watch.epoch(number + 1, len(folds) + 1, {f"val_{fitter.metric}": score})
        scores.append(score)
        with replacing(path) as out:
            out.write(json.dumps(scores).encode())
        if not go_on:
            break
    return scores


def _save(model: Any, name: str, run: Path, names: Sequence[str], watch: Watch) -> Path:
    """The library's own file where the model is the library's alone, else skops; never a pickle."""
    if name == "xgboost" and not hasattr(model, "steps"):
        model.get_booster().feature_names = list(names)
        model.save_model(run / "model.ubj")
        return run / "model.ubj"
    if name == "lightgbm" and not hasattr(model, "steps"):
        model.booster_.save_model(str(run / "model.txt"))
        return run / "model.txt"
    import skops.io

    first = model.steps[0][1] if hasattr(model, "steps") else model
    first.feature_names_in_ = np.array(list(names), object)  # as fitting a data frame leaves it
    path = run / "model.skops"
    skops.io.dump(model, path)
    if skops.io.get_untrusted_types(file=path):
        watch.say("export takes it with --trust: skops does not vouch for all of its types")
    return path


TRAINER = TableTrainer()
