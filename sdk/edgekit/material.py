"""The samples of an export: which measure, which calibrate, which are only compared with the source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit.data import Dataset, Sample, open_dataset, overlap
from edgekit.errors import DataError
from edgekit.golden import pick
from edgekit.plan import ExportPlan
from edgekit_runtime.errors import UsageError
from edgekit_runtime.manifest import DataInfo

LEAST_CHOOSING = 36
"""Samples; fewer choose by luck, and cost the figures that are reported more than they bring."""
_LEAST_HALVED = 200
"""Unlabelled samples; of fewer, a half is too few to measure an agreement on."""


@dataclass(frozen=True)
class Material:
    """Samples by what they are for.

    Attributes:
        kind: Kind of raw sample: ``image``, ``audio``, ``table`` or ``tensor``.
        task: ``classification``, ``regression``, ``detection`` or ``none``.
        labels: Class names in the order of the scores.
        columns: Feature names in order, for tables.
        dataset: What ``--data`` gave, None for nothing.
        evaluation: Labelled samples that accuracy is measured on; empty where it cannot be measured.
        choosing: Labelled samples of a validation split that recipes may be chosen by: neither evaluated nor calibrated
            with. Empty where the data has no such split, or one of fewer than `LEAST_CHOOSING`.
        calibration: Samples for quantization calibration.
        probes: The user's own samples: outputs are compared with the source's on some of them, golden samples are
            picked from them. The evaluation samples where there are any.
        data: What the manifest says of each set.
        remarks: What the user should hear about the data, one sentence each.
    """

    kind: str
    task: str = "none"
    labels: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    dataset: Dataset | None = None
    evaluation: tuple[Sample, ...] = ()
    calibration: tuple[Sample, ...] = ()
    probes: tuple[Sample, ...] = ()
    data: tuple[DataInfo, ...] = ()
    remarks: tuple[str, ...] = ()
    choosing: tuple[Sample, ...] = ()

    @property
    def unlabelled(self) -> tuple[Sample, ...]:
        """Of the probes, those that variants may be compared with the source on: none that calibrates, if any is left.

        Ranges fit what they were made from, so that agreement on it would say too much.
        """
        used = {s.sha256 for s in self.calibration}
        return tuple(s for s in self.probes if s.sha256 not in used) or self.probes

    @property
    def halves(self) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
        """What is `unlabelled` to choose by, and to measure on: halves by content hash; few samples do both.

        The first is empty where there are too few. Equal contents are in the same half.
        """
        loose = self.unlabelled
        first = tuple(s for s in loose if int(s.sha256[-8:], 16) % 2)  # splits are made of the hash's other end
        second = tuple(s for s in loose if not int(s.sha256[-8:], 16) % 2)
        enough = len(loose) >= _LEAST_HALVED and min(len(first), len(second)) >= LEAST_CHOOSING
        return (first, second) if enough else ((), loose)

    def info(self, role: str) -> DataInfo | None:
        """What the manifest says of one set, None where there is none."""
        return next((d for d in self.data if d.role == role), None)


def gather(plan: ExportPlan) -> Material:
    """Open the plan's data sets and settle what each sample is for.

    Samples without labels are never evaluated, so they may calibrate and be probed at once.

    Raises:
        DataError: A data set cannot be used, or quantization would be calibrated on what measures it.
        UsageError: A contract was asked for that cannot be measured, or the two data sets are of different kinds.
    """
    order = _label_order(plan.labels)
    given = open_dataset(plan.data, label=plan.label, labels_order=order) if plan.data else None
    ranges = open_dataset(plan.calibration_data, label=plan.label) if plan.calibration_data else None
    if given and ranges and given.kind != ranges.kind:
        raise UsageError(
            f"--data holds {given.kind} samples, --calibration-data {ranges.kind} samples",
            "give both as the model's user has them",
        )
    task = plan.task or (given.task if given else "none")
    labelled = given is not None and given.task != "none" and task != "none"
    if plan.max_drop is not None and not labelled:
        raise UsageError(
            "--max-drop needs labelled data to measure with", "give --data with labels, one folder a class"
        )
    evaluation = tuple(given.split("test"))[: plan.limit] if given and labelled else ()
    found, origin = _calibration(given, ranges, labelled)
    calibration = tuple(pick(found, [s.group for s in found], plan.calibration_samples))
    if shared := overlap(calibration, evaluation):
        raise DataError(
            f"{len(shared)} calibration samples are in the evaluation split too, as {shared[0]}",
            "give --calibration-data that does not overlap",
        )
    choosing = _choosing(given, evaluation, calibration)[: plan.limit] if given and labelled else ()
    probes = evaluation or _every(given or ranges)[: plan.limit]
    data = []
    if given and evaluation:
        data.append(given.info("evaluation", evaluation, "--data"))
    elif dataset := given or ranges:
        data.append(dataset.info("comparison", probes, "--data" if given else "--calibration-data"))
    if calibration and (dataset := ranges or given):
        data.append(dataset.info("calibration", calibration, origin))
    either = given or ranges
    return Material(
        kind=either.kind if either else _kind_of(plan),
        task=task,
        labels=given.labels if given and given.labels else tuple(order or ()),
        columns=either.columns if either else (),
        dataset=given,
        evaluation=evaluation,
        calibration=calibration,
        probes=probes,
        data=tuple(data),
        remarks=tuple(given.remarks) if given and labelled else (),
        choosing=choosing if len(choosing) >= LEAST_CHOOSING else (),
    )


def _label_order(file: str | None) -> list[str] | None:
    if file is None:
        return None
    try:
        lines = Path(file).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read --labels {file} ({getattr(error, 'strerror', None) or 'it is not text'})",
                         "give a text file with one class name a line") from error  # fmt: skip
    return [line.strip() for line in lines if line.strip()]


def _calibration(given: Dataset | None, ranges: Dataset | None, labelled: bool) -> tuple[tuple[Sample, ...], str]:
    """Samples to calibrate with, and where they are from."""
    if ranges is not None:
        # nobody held anything out of it: all of it is there to calibrate with
        chosen = _every(ranges) if ranges.split_here else tuple(ranges.split("train") or ranges.split("test"))
        return chosen, "--calibration-data"
    if given is None:
        return (), ""
    if labelled or given.split("train"):
        return tuple(given.split("train")), "training split of --data"
    return _every(given), "--data"


def _choosing(given: Dataset, *used: tuple[Sample, ...]) -> tuple[Sample, ...]:
    """Of the validation split, what has no other use; nothing where it is evaluated for want of a test split."""
    known = {s.sha256 for samples in used for s in samples}
    return tuple(s for s in given.split("validation") if s.sha256 not in known)


def _every(dataset: Dataset | None) -> tuple[Sample, ...]:
    """All samples, held-out ones first."""
    if dataset is None:
        return ()
    return tuple(s for name in ("test", "validation", "train") for s in dataset.splits.get(name, ()))


def _kind_of(plan: ExportPlan) -> str:
    """Kind of raw sample where no data set says: pictures if a picture preset is named, else tensors."""
    if plan.preprocess is None:
        return "tensor"
    return "audio" if plan.preprocess.startswith("kws") else "image"
