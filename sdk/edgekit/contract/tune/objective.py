"""One trial: parameters to a training, an export, or both, and what is measured of it on samples that choose."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import platform
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.contract.latency import in_turns
from edgekit.contract.tune.plan import EXPORT, TunePlan, settings_of
from edgekit.data import Dataset, Sample, overlap
from edgekit.errors import DataError
from edgekit.evaluate import primary_metric
from edgekit.feeding import feeds
from edgekit.plan import ExportPlan
from edgekit.progress import Progress
from edgekit.training import TrainPlan, train
from edgekit.workbench import Workbench
from edgekit_converters.passes import precision_name, recipe_for
from edgekit_converters.train import TrainConfig, Watch
from edgekit_runtime.errors import UsageError
from edgekit_runtime.plain import encode

if TYPE_CHECKING:
    from optuna.trial import Trial

_LATENCY_SECONDS = 0.6
_TIMED = 8  # samples that are timed in turns


@dataclass(frozen=True)
class Outcome:
    """What a trial came to.

    Attributes:
        values: Of the objectives, in their order.
        facts: What else is known: milliseconds, bytes, metrics, the recipe.
        replay: File name to plain data that `edgekit train|export --config` takes.
    """

    values: tuple[float, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    replay: Mapping[str, Any] = field(default_factory=dict)


def directions(plan: TunePlan) -> list[str]:
    """``maximize`` or ``minimize`` of each objective: every task's first metric is better when it is higher."""
    return ["maximize" if name == "accuracy" else "minimize" for name in plan.objectives]


class Pruning(Watch):
    """Tells the study of every epoch, and ends a training that the study has given up."""

    def __init__(self, trial: Trial, on: bool) -> None:
        self.trial, self.on, self.pruned = trial, on, False

    def epoch(self, number: int, of: int, metrics: Mapping[str, float]) -> bool:
        if self.on and number < of:  # at the end there is nothing to save
            self.trial.report(chosen_by(metrics), number)
            self.pruned = self.trial.should_prune()
        return not self.pruned


class Bench:
    """Runs trials; what they have in common (a model that is loaded and lowered) is made once."""

    def __init__(self, plan: TunePlan) -> None:
        self.plan = plan
        self._stack = ExitStack()
        self._benches: dict[str, Workbench] = {}

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, params: Mapping[str, Any], folder: Path, watch: Pruning) -> Outcome:
        """Try parameters.

        Raises:
            EdgekitError: They do not work.
        """
        accuracy, replay = 0.0, {}
        settings = dict(self.plan.export)
        if self.plan.train:
            asked = self._train_plan(params, folder)
            result = train(asked, Progress(), watch)
            replay["train.json"] = encode(replace(asked, output="", overwrite=False))
            metrics = {f"validation {k}": v for k, v in result.trained.metrics.items()}
            accuracy = chosen_by(result.trained.metrics)
            if watch.pruned or not self.plan.export:
                return Outcome((accuracy,), metrics, replay)
            settings = {"data": asked.data, "label": asked.label, "text": asked.text, **settings}
            settings["model"] = str(result.run)
        return self._export(settings, params, replay)

    def _train_plan(self, params: Mapping[str, Any], folder: Path) -> TrainPlan:
        given = {**self.plan.train, "config": dict(self.plan.train.get("config", {}))}
        names = {f.name for f in dataclasses.fields(TrainConfig)}
        given["config"] |= {k: v for k, v in params.items() if k in names}
        options = {k.removeprefix("option."): v for k, v in params.items() if k.startswith("option.")}
        given["config"]["options"] = {**given["config"].get("options", {}), **options}
        return TrainPlan.from_json(json.dumps({**given, "output": str(folder), "overwrite": True}))

    def _export(self, settings: dict[str, Any], params: Mapping[str, Any], replay: dict[str, Any]) -> Outcome:
        settings |= {k: v for k, v in params.items() if k in EXPORT}
        plan = ExportPlan.from_json(json.dumps(settings))
        quantize = precision_name(plan.quantize if plan.quantize != "auto" else "fp32")
        bench = self._bench(replace(plan, quantize="auto", passes={}))
        recipe = [dict(step) for step in recipe_for(quantize, bench.floating.format, bench.target.limits)]
        known = {name for step in recipe for name in settings_of(step["pass"])} - set(EXPORT)
        passes = {k: v for k, v in {**plan.passes, **params}.items() if k in known}
        recipe = [step | passes for step in recipe]
        made = bench.attempt(tuple(recipe), "tried" if recipe else None)
        if not recipe:
            bench.made[bench.floating.name] = bench.floating
        metric, sign = primary_metric(bench.material.task)
        value = made.evaluation.metrics[metric] if made.evaluation else 0.0
        facts: dict[str, Any] = {"bytes": made.bytes, "variant": made.variant.name, "recipe": recipe}
        facts |= {"metrics": dict(made.evaluation.metrics) if made.evaluation else {}}
        values = {"accuracy": sign * value, "size": float(made.bytes), "latency": 0.0}
        if "latency" in self.plan.objectives:
            times = self._latency(bench, made.variant)
            values["latency"], facts["latency_ms"] = times.ratio, times.ms
        replay["export.json"] = encode(replace(plan, quantize=quantize, passes=passes))
        return Outcome(tuple(values[name] for name in self.plan.objectives), facts, replay)

    def _latency(self, bench: Workbench, variant: Any) -> Any:
        samples = [feeds(bench.specification, bench.source.inputs, [s]) for s in bench.material.evaluation[:_TIMED]]
        floating = bench.described(bench.floating, bench.fidelity)
        bench.made.setdefault(bench.floating.name, bench.floating)
        with contextlib.closing(bench.open(variant)) as one, contextlib.closing(bench.open(floating)) as other:
            return in_turns(one, other, samples, platform.node(), seconds=_LATENCY_SECONDS)

    def _bench(self, plan: ExportPlan) -> Workbench:
        key = plan.to_json()
        if key not in self._benches:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="edgekit-")))
            bench = Workbench(plan, Progress(), folder, self._stack)
            bench.take_in()
            if bench.material.dataset is None or not bench.material.evaluation:
                raise UsageError("a study needs labelled data to measure with", "give data in [export]")
            bench.material = to_choose_by(bench.material, bench.material.dataset)
            bench.lower()
            self._benches[key] = bench
        return self._benches[key]


def to_choose_by(material: Any, dataset: Dataset) -> Any:
    """The material with validation samples in the test samples' place: what chooses must not be what measures.

    Where there is no validation split, it is a tenth of the training split by content hash, which then calibrates
    nothing: the same tenth that training chooses its epoch by.

    Raises:
        DataError: There is nothing to choose by, or it would calibrate too.
    """
    chosen: list[Sample] = list(dataset.splits.get("validation", ()))
    if not chosen or not dataset.splits.get("test"):
        train_split = list(dataset.split("train"))
        chosen = [s for s in train_split if int(s.sha256[8:16], 16) % 10 == 0]
    if not chosen:
        raise DataError("there are no validation samples to choose by", "add a validation split, or more samples")
    held = {s.sha256 for s in chosen}
    calibration = tuple(s for s in material.calibration if s.sha256 not in held)
    if shared := overlap(calibration, chosen):
        raise DataError(f"calibration sample {shared[0]} would choose, too", "give other --calibration-data")
    return replace(material, evaluation=tuple(chosen), calibration=calibration, probes=tuple(chosen))


def chosen_by(metrics: Mapping[str, float]) -> float:
    """The first figure of an epoch that is better when it is higher; a loss, turned round, where there is none."""
    for name, value in metrics.items():
        if (
            "loss" not in name
            and any(w in name for w in ("accuracy", "r2", "map", "f1", "auc"))
            and not ("train" in name or (name == "accuracy" and "val_accuracy" in metrics))
        ):
            return float(value)
    losses = [v for n, v in metrics.items() if "loss" in n or n in ("mae", "rmse")]
    if not losses:
        raise DataError("training gave no figure to choose by", "look at the trainer's metrics")
    return -float(losses[-1])
