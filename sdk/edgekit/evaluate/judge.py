"""What a variant is held to: the labels of the data, or, where there are none, what the source itself answers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edgekit.data import Sample
from edgekit.data.sample import Box
from edgekit.errors import EvaluationError
from edgekit.evaluate.evaluation import Evaluation, evaluate, measured_by_answers, per_class, primary_metric
from edgekit.evaluate.intervals import Interval, bootstrap, metric_interval, share_interval
from edgekit.evaluate.paired import compare

NEAR = 0.05
"""Two values agree if they differ by at most this share of their output's largest magnitude."""


class Judge(ABC):
    """Gives answers their figures.

    Attributes:
        metric: The figure that the contract is about.
        sign: +1 if higher is better.
        by_answers: Whether it takes whole answers (lists of boxes, all outputs) rather than scores.
        samples: What is answered.
    """

    metric: str
    sign: int
    by_answers: bool
    samples: Sequence[Sample]

    @abstractmethod
    def measure(self, answers: Sequence[Any]) -> Evaluation:
        """Figures of one answer for each sample.

        Raises:
            EvaluationError: Answers that cannot be measured.
            DataError: Samples that cannot.
        """

    @abstractmethod
    def interval(self, found: Evaluation) -> Interval | None:
        """How sure the metric is; None where that is not known."""

    def drop(self, baseline: Evaluation, found: Evaluation) -> float:
        """How much worse than the baseline, in the metric."""
        return self.sign * (baseline.metrics[self.metric] - found.metrics[self.metric])

    def drop_interval(self, baseline: Evaluation, found: Evaluation) -> Interval | None:
        """How sure the drop is; None where that is not known."""
        return None


@dataclass(frozen=True)
class Labelled(Judge):
    """By the labels of the data.

    Attributes:
        samples: Labelled samples.
        task: Their task.
        labels: Class names.
    """

    samples: Sequence[Sample] = field(repr=False)
    task: str
    labels: Sequence[str]

    @property
    def metric(self) -> str:  # type: ignore[override]
        """The task's primary metric."""
        return primary_metric(self.task)[0]

    @property
    def sign(self) -> int:  # type: ignore[override]
        """+1 if higher is better."""
        return primary_metric(self.task)[1]

    @property
    def by_answers(self) -> bool:  # type: ignore[override]
        """As the task is measured."""
        return measured_by_answers(self.task)

    def measure(self, answers: Sequence[Any]) -> Evaluation:
        """The task's metrics."""
        return evaluate(answers, self.samples, self.task, self.labels)

    def interval(self, found: Evaluation) -> Interval | None:
        """Bootstrap over the samples; not for detection."""
        return None if self.by_answers else metric_interval(found.class_scores, found.targets, self.task)

    def drop_interval(self, baseline: Evaluation, found: Evaluation) -> Interval | None:
        """Of the paired difference; not for detection."""
        return None if self.by_answers else compare(baseline, found, self.task).interval


@dataclass(frozen=True)
class Agreement(Judge):
    """By the source's own answers, which stand for the truth: 1 is as the source.

    Classes: share of samples with the same answer. Boxes: mean average precision with the source's boxes as truth.
    Anything else: share of output values that are `NEAR` the source's, and their signal to noise ratio in dB.

    Attributes:
        samples: What was answered.
        kind: ``classification``, ``detection`` or ``tensors``.
        reference: The source's answers.
    """

    samples: Sequence[Sample] = field(repr=False)
    kind: str
    reference: Sequence[Any] = field(repr=False)
    metric = "agreement"
    sign = 1

    @classmethod
    def with_source(cls, samples: Sequence[Sample], task: str, reference: Sequence[Any]) -> Agreement:
        """What kind it is follows from the answers, and from the task where that was said."""
        boxes = all(isinstance(a, list) and all(hasattr(d, "box") for d in a) for a in reference)
        return cls(samples, "detection" if boxes else "classification" if task == "classification" else "tensors",
                   reference)  # fmt: skip

    @property
    def by_answers(self) -> bool:  # type: ignore[override]
        """Classes are told by their scores, all else by the whole answer."""
        return self.kind != "classification"

    def measure(self, answers: Sequence[Any]) -> Evaluation:
        """Agreement with the source; `scores` of the result is that of each sample where it is known."""
        if self.kind == "detection":
            return self._boxes(answers)
        if self.kind == "classification":
            same = [_class(a) == _class(r) for a, r in zip(answers, self.reference, strict=True)]
            return _shares(np.array(same, np.float32), {})
        return self._tensors(answers)

    def interval(self, found: Evaluation) -> Interval | None:
        """Bootstrap over the samples; not for boxes."""
        if not found.scores.size:
            return None
        shares = found.scores[:, 0]
        if set(np.unique(shares)) <= {0.0, 1.0}:
            return share_interval(shares)
        return bootstrap(lambda block: shares[block].mean(axis=1), len(shares))

    def drop_interval(self, baseline: Evaluation, found: Evaluation) -> Interval | None:
        """The source agrees with itself, so that it is the other side of `interval`."""
        known = self.interval(found)
        return known and Interval(1 - known.high, 1 - known.low, known.level)

    def _boxes(self, answers: Sequence[Any]) -> Evaluation:
        from edgekit.evaluate.detection import measure

        truth = [
            replace(s, boxes=tuple(Box(d.index, tuple(map(float, d.box))) for d in r))  # type: ignore[arg-type]
            for s, r in zip(self.samples, self.reference, strict=True)
        ]
        most = max((d.index for answer in (*self.reference, *answers) for d in answer), default=0)
        figures = measure(answers, truth, [str(i) for i in range(most + 1)])
        metrics = {"agreement": figures.metrics["map"], "agreement50": figures.metrics["map50"]}
        return Evaluation(metrics, len(self.samples))

    def _tensors(self, answers: Sequence[Any]) -> Evaluation:
        references, found = [_outputs(r) for r in self.reference], [_outputs(a) for a in answers]
        tops = {n: max(float(np.abs(r[n]).max(initial=0.0)) for r in references) or 1.0 for n in references[0]}
        shares, signal, noise = [], 0.0, 0.0
        for sample, reference, answer in zip(self.samples, references, found, strict=True):
            near, count = 0, 0
            for name, top in tops.items():
                if answer[name].shape != reference[name].shape:
                    raise EvaluationError(
                        f"output {name!r} of sample {sample.id} has another shape than the source's",
                        "give labelled data, or a specification whose last step makes boxes or classes",
                    )
                off = (answer[name] - reference[name]) / top
                near, count = near + int((np.abs(off) <= NEAR).sum()), count + off.size
                signal, noise = signal + float(((reference[name] / top) ** 2).sum()), noise + float((off**2).sum())
            shares.append(near / max(count, 1))
        ratio = 10 * math.log10(max(signal, 1e-30) / max(noise, 1e-30 * max(signal, 1e-30), 1e-30))
        return _shares(np.array(shares, np.float32), {"sqnr_db": min(ratio, 200.0)})


def _shares(shares: np.ndarray, more: Mapping[str, float]) -> Evaluation:
    return Evaluation(
        {"agreement": float(shares.mean()), **more}, len(shares), (), shares[:, None], np.ones(len(shares))
    )


def _class(scores: Any) -> int:
    return int(per_class(np.asarray(scores, np.float32).reshape(1, -1)).argmax())


def _outputs(answer: Any) -> dict[str, np.ndarray]:
    named = answer if isinstance(answer, Mapping) else {"": answer}
    try:
        return {str(n): np.asarray(v, np.float64) for n, v in named.items()}
    except (TypeError, ValueError) as error:
        raise EvaluationError("the model's answers are no numbers, so that they cannot be compared with the source's",
                              "give labelled data") from error  # fmt: skip
