"""Data and a config to a run folder: opens the data, trains, and measures the model that export would take."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgekit.data import Dataset, Sample, open_dataset
from edgekit.errors import DataError
from edgekit.evaluate import Evaluation, evaluate, measured_by_answers, primary_metric
from edgekit.plan import ExportPlan
from edgekit.progress import Progress, Stage
from edgekit.runs import CONFIG, LABELS, LOG, PAGE, PICTURE, RESULT, SPECIFICATION, Log, curves, is_run, write_json
from edgekit_converters.train import TrainConfig, Trained, TrainMaterial, Watch, trainer_for
from edgekit_converters.train.checkpoint import FOLDER
from edgekit_runtime.errors import UsageError
from edgekit_runtime.manifest import SpecificationData
from edgekit_runtime.plain import PlainDataError, decode, encode
from edgekit_runtime.specification import Specification

_NAMED = 3  # how many of many are named


@dataclass(frozen=True)
class TrainPlan:
    """What to train on, how, and where the run goes.

    Attributes:
        data: Data set; its training split is learnt from, its validation split (else a tenth of the training split)
            chooses the epoch, its test split measures.
        config: Settings.
        output: Run folder.
        label: Label column of a table.
        text: Text column of a table.
        labels: File with one class name a line, in the order that the scores shall have.
        overwrite: Whether what another run left in the folder may be removed.
    """

    data: str
    config: TrainConfig
    output: str = ""
    label: str | None = None
    text: str | None = None
    labels: str | None = None
    overwrite: bool = False

    def run_path(self) -> Path:
        """The run folder; ``runs/TASK`` where none was named."""
        return Path(self.output or f"runs/{self.config.task}")

    def to_json(self) -> str:
        """Plain data, settings at their default left out."""
        return json.dumps(encode(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> TrainPlan:
        """Read a plan.

        Raises:
            UsageError: Not a plan, or one with a setting that there is not.
        """
        try:
            data = json.loads(text)
            plan = decode(cls, data, "plan")
        except (ValueError, PlainDataError) as error:
            raise UsageError(f"the configuration is not a training plan ({error})",
                             "make one with --dry-run") from error  # fmt: skip
        known = [(data, cls.__dataclass_fields__), (data["config"], TrainConfig.__dataclass_fields__)]
        for given, fields in known:
            unknown = next((name for name in given if name not in fields), None)
            if unknown is not None:
                raise UsageError(f"a training plan has no setting {unknown!r:.60}", "make one with --dry-run")
        return plan


@dataclass(frozen=True)
class TrainResult:
    """What came of it.

    Attributes:
        run: Run folder, which `edgekit export` takes.
        trained: The model and the figures on the validation samples.
        evaluation: On the test samples; None where there are none.
        remarks: What the user should know, one sentence each.
    """

    run: Path
    trained: Trained
    evaluation: Evaluation | None
    remarks: tuple[str, ...] = field(default=())


def train(plan: TrainPlan, progress: Progress | None = None, watch: Watch | None = None) -> TrainResult:
    """Train, or go on with an interrupted run of the same plan.

    Args:
        plan: What to train on, and how.
        progress: Hears of every stage.
        watch: Hears of every epoch besides the run folder's log, and may end training.

    Raises:
        UsageError: The plan cannot work.
        DataError: The data set cannot be used.
        TrainingError: It cannot be learnt from, or the loss is not finite.
        MissingRequirement: A package or a file of weights is not there.
    """
    progress = progress if progress is not None and not _follows() else Progress()
    trainer = trainer_for(plan.config.task)
    run = _open_run(plan, progress)
    with progress.stage("data", plan.data) as stage:
        dataset = open_dataset(plan.data, label=plan.label, labels_order=_order(plan.labels))
        material = _material(dataset, plan.text or "")
        test = _test(dataset)
        stage.note = (
            f"{len(material.train)} to learn from, {len(material.validation)} to choose by, {len(test)} to test"
        )
    for remark in dataset.remarks:
        progress.say(remark)
    if not _follows():
        write_json(run / CONFIG, encode(replace(plan, overwrite=False)))
    if dataset.labels and not _follows():
        (run / LABELS).write_text("\n".join(dataset.labels) + "\n", "utf-8")
    told = _RunWatch(run, progress, watch)
    with progress.stage("train", plan.config.backbone or plan.config.task) as stage:
        told.stage = stage
        trained = trainer.fit(plan.config, material, run, told)
        stage.file = trained.model if trained.model.is_file() else None
        stage.note = f"epoch {trained.best_epoch} kept, {_words(trained.metrics)}"
    if trained.specification:
        write_json(run / SPECIFICATION, trained.specification)
    evaluation = _evaluate(plan, trained, run, test, dataset, progress) if test else None
    _finish(plan, run, trained, evaluation, dataset, told)
    return TrainResult(run, trained, evaluation, (*dataset.remarks, *told.remarks))


class _RunWatch(Watch):
    """Writes the log, draws the bar, and asks whoever else watches."""

    def __init__(self, run: Path, progress: Progress, other: Watch | None) -> None:
        self.log = Log(run / LOG)
        self.progress, self.other = progress, other
        self.stage = Stage("train")
        self.remarks: list[str] = []

    def epoch(self, number: int, of: int, metrics: Mapping[str, float]) -> bool:
        self.log.add(number, metrics)
        self.stage.advance(number, of)
        return self.other is None or self.other.epoch(number, of, metrics)

    def say(self, remark: str) -> None:
        self.remarks.append(remark)
        self.progress.say(remark)


def _open_run(plan: TrainPlan, progress: Progress) -> Path:
    """The run folder: new, or that of the same plan to go on with."""
    run = plan.run_path()
    if _follows():
        return run
    if run.is_dir() and any(run.iterdir()):
        if plan.overwrite and (run / CONFIG).is_file():
            shutil.rmtree(run)
        elif not (run / CONFIG).is_file():
            raise UsageError(f"--output {run} holds files that no training made", "give another folder")
        elif TrainPlan.from_json((run / CONFIG).read_text("utf-8")) != replace(plan, overwrite=False):
            raise UsageError(f"--output {run} holds a run with other settings", "give --overwrite or another folder")
        elif is_run(run):
            raise UsageError(f"the run {run} is finished", "give --overwrite or another --output")
        else:
            progress.say(f"going on with the interrupted run {run}")
    elif run.exists() and not run.is_dir():
        raise UsageError(f"--output {run} is a file", "give a folder")
    run.mkdir(parents=True, exist_ok=True)
    return run


def _follows() -> bool:
    """Whether this process was started to work beside another one that looks after the run folder."""
    return any(os.environ.get(name, "0") != "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def _order(file: str | None) -> list[str] | None:
    if file is None:
        return None
    try:
        return [line.strip() for line in Path(file).read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read --labels {file}", "give a text file with one class name a line") from error


def _material(dataset: Dataset, text: str) -> TrainMaterial:
    """Training and validation examples; a tenth of the training split by content hash where nothing else is there."""
    train: list[Sample] = list(dataset.split("train"))
    validation: list[Sample] = list(dataset.splits.get("validation", ()))
    if not dataset.split_here and dataset.split("test") and dataset.split("test") == dataset.splits.get("validation"):
        validation = []  # it is what measures, so it must not choose
    if not validation and len(train) > 1:
        held = {s.sha256 for s in train if int(s.sha256[8:16], 16) % 10 == 0} or {min(s.sha256 for s in train)}
        validation = [s for s in train if s.sha256 in held]
        train = [s for s in train if s.sha256 not in held]
    return TrainMaterial(dataset.kind, dataset.task, dataset.labels, dataset.columns, train, validation, text)


def _test(dataset: Dataset) -> tuple[Sample, ...]:
    """Labelled test samples.

    Raises:
        DataError: A class of theirs has no training sample.
    """
    if dataset.task == "none":
        return ()
    test = tuple(dataset.split("test"))
    if dataset.task == "classification":
        seen = {s.label for s in dataset.split("train")}
        unseen = Counter(dataset.labels[int(s.label)] for s in test if s.label is not None and s.label not in seen)
        if unseen:
            named = ", ".join(list(unseen)[:_NAMED]) + (", …" if len(unseen) > _NAMED else "")
            raise DataError(
                f"nothing can be learnt of {named}: the test split has samples of it, the training split none",
                "add training samples, or take it out of the test split",
            )
    return test


def _evaluate(
    plan: TrainPlan, trained: Trained, run: Path, test: Sequence[Sample], dataset: Dataset, progress: Progress
) -> Evaluation:
    """The very file that export takes, on the test samples, through the specification that export takes."""
    from edgekit.classic import classic_specification, fit_material, text_specification
    from edgekit.feeding import source_outputs
    from edgekit.material import Material
    from edgekit_converters.registry import load_source
    from edgekit_converters.source import SourceRequest
    from edgekit_converters.sources.classic import ClassicSource

    with progress.stage("evaluate", trained.model.name) as stage:
        source = load_source(SourceRequest(str(trained.model), trust=True))  # this very program wrote it
        try:
            material = Material(
                dataset.kind, dataset.task, dataset.labels, dataset.columns, dataset, tuple(test), (), tuple(test)
            )
            if not trained.specification and source.specification is not None:
                material = fit_material(material, source)
                specification = text_specification(material, source, plan.text)
            elif trained.specification or not isinstance(source, ClassicSource):
                specification = Specification.from_data(
                    decode(SpecificationData, json.loads(json.dumps(trained.specification)), SPECIFICATION)
                )
            else:
                material = fit_material(material, source)
                specification = classic_specification(material, source, plan.text)
            give = specification.postprocess if measured_by_answers(material.task) else specification.scores
            samples = material.evaluation
            outputs = stage.track(source_outputs(source, specification, samples, material.labels), len(samples))
            answers = [give(found, context) for found, context in outputs]
        finally:
            source.close()
        found = evaluate(answers, samples, material.task, material.labels)
        metric, _ = primary_metric(material.task)
        stage.note = f"{metric} {found.metrics[metric]:.4f} on {len(samples)} test samples"
    return found


def _finish(
    plan: TrainPlan, run: Path, trained: Trained, evaluation: Evaluation | None, dataset: Dataset, told: _RunWatch
) -> None:
    """Curves and the result; the latter last, since it says that the run is finished."""
    import importlib.util

    from edgekit.report.curves import draw_png, write_page

    drawn = curves(told.log.rows)
    if drawn and importlib.util.find_spec("matplotlib") is not None:
        draw_png(run / PICTURE, drawn, trained.best_epoch)
    facts = [(name, str(value)) for name, value in encode(plan.config).items()]
    facts += [(f"validation {name}", f"{value:.4f}") for name, value in trained.metrics.items()]
    if evaluation is not None:
        facts += [(f"test {name}", f"{value:.4f}") for name, value in evaluation.metrics.items()]
    write_page(run / PAGE, f"{plan.config.task} on {Path(plan.data).name}", drawn, facts, trained.best_epoch)
    result: dict[str, Any] = {
        "model": trained.model.relative_to(run).as_posix(),
        "task": plan.config.task,
        "best_epoch": trained.best_epoch,
        "epochs": int(told.log.rows[-1]["epoch"]) if told.log.rows else 0,
        "validation": dict(trained.metrics),
        "test": dict(evaluation.metrics) if evaluation is not None else None,
        "test_samples": evaluation.samples if evaluation is not None else 0,
        "label": plan.label,
        "text": plan.text,
        "tools": dict(trained.tools),
        "remarks": [*dataset.remarks, *told.remarks],
    }
    write_json(run / RESULT, result)
    shutil.rmtree(run / FOLDER, ignore_errors=True)


def _words(metrics: Mapping[str, float]) -> str:
    held = [(name, value) for name, value in metrics.items() if name.startswith("val_")]
    return ", ".join(f"{name} {value:.4f}" for name, value in (held or list(metrics.items()))[:2])


def export_plan(run: Path | str, target: str, **settings: Any) -> ExportPlan:
    """A plan to export a finished run, measured on the data it was trained with unless `settings` say otherwise.

    Raises:
        DataError: There is no finished run in that folder.
    """
    folder = Path(run)
    if not is_run(folder):
        raise DataError(f"there is no finished run in {folder}", "train it first: the same command goes on with it")
    trained = TrainPlan.from_json((folder / CONFIG).read_text("utf-8"))
    return ExportPlan(model=str(folder), target=target, **{"data": trained.data, **settings})
