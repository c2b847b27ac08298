"""One window of one model's calls, as counted and as sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from edgekit_runtime.manifest import Manifest
from edgekit_runtime.monitor.histogram import Histogram
from edgekit_runtime.monitor.sketch import Confidence, Counts, Sketch
from edgekit_runtime.monitor.watching import OTHERS, Watching
from edgekit_runtime.plain import PlainDataError

_PARTS = ("inputs", "outputs", "categories")


@dataclass
class Window:
    """Everything counted between two times.

    Attributes:
        begun: When it began, in seconds since 1970 (the device's clock, which may be wrong).
        ended: When it ended; None while it is open.
        requests: Calls, failed ones included.
        errors: Calls that failed.
        unfit: Answers whose scores are not those that the reference has; they are counted nowhere else.
        latency: Durations of calls that gave an answer.
        inputs: Feature or summary name to its sketch.
        outputs: Score name to its sketch, as `Watching` chooses them.
        categories: Column name to its categories.
        classes: Answers by best class.
        confidence: Answers by the best class's score.
    """

    begun: float
    ended: Optional[float] = None
    requests: int = 0
    errors: int = 0
    unfit: int = 0
    latency: Histogram = field(default_factory=Histogram)
    inputs: dict[str, Sketch] = field(default_factory=dict)
    outputs: dict[str, Sketch] = field(default_factory=dict)
    categories: dict[str, Counts] = field(default_factory=dict)
    classes: Counts = field(default_factory=lambda: Counts({}))
    confidence: Confidence = field(default_factory=lambda: Confidence(()))

    @classmethod
    def of(cls, manifest: Manifest, begun: float) -> Window:
        """An empty window for a model."""
        reference, watching = manifest.monitoring, Watching.of(manifest)
        watched = (*watching.names, OTHERS) if watching.others else watching.names
        columns = {
            name: Counts.of(known)
            for step in manifest.specification.input
            for name, known in (step.get("categories") or {}).items()
        }
        return cls(
            begun,
            # a column of text has no quantiles; its categories are counted instead
            inputs={n: Sketch(q.edges) for n, q in reference.inputs.items() if q.nulls < 1 and n not in columns},
            outputs={n: Sketch(reference.outputs[n].edges) for n in watched},
            categories=columns,
            classes=Counts.of(manifest.labels if manifest.task == "classification" else ()),
            confidence=Confidence(reference.confidence),
        )

    def merge(self, other: Window) -> Window:
        """Both windows as one, from the earlier's beginning to the later's end.

        Raises:
            ValueError: They are of different models.
        """
        if any(getattr(self, p).keys() != getattr(other, p).keys() for p in _PARTS):
            raise ValueError("windows of different models cannot be merged")
        ends = [w.ended for w in (self, other) if w.ended is not None]
        parts = {p: {n: a.merge(getattr(other, p)[n]) for n, a in getattr(self, p).items()} for p in _PARTS}
        return Window(
            min(self.begun, other.begun),
            max(ends) if len(ends) == 2 else None,
            self.requests + other.requests,
            self.errors + other.errors,
            self.unfit + other.unfit,
            self.latency.merge(other.latency),
            classes=self.classes.merge(other.classes),
            confidence=self.confidence.merge(other.confidence),
            **parts,
        )

    def to_plain(self) -> dict[str, Any]:
        """JSON data; edges, names of classes and the confidence table are in the bundle."""
        plain = {n: getattr(self, n) for n in ("begun", "ended", "requests", "errors", "unfit")}
        plain.update({p: {n: s.to_plain() for n, s in getattr(self, p).items()} for p in _PARTS})
        plain.update({n: getattr(self, n).to_plain() for n in ("latency", "classes", "confidence")})
        return plain

    @classmethod
    def from_plain(cls, data: Mapping[str, Any], manifest: Manifest) -> Window:
        """Read `to_plain`'s data with the bundle's manifest at hand.

        Raises:
            PlainDataError: It is not of that form, or of another model.
        """
        made = cls.of(manifest, 0.0)
        try:
            made.begun = float(data["begun"])
            made.ended = None if data["ended"] is None else float(data["ended"])
            made.requests, made.errors, made.unfit = (int(data[n]) for n in ("requests", "errors", "unfit"))
            made.latency = Histogram.from_plain(data["latency"])
            made.inputs = {n: Sketch.from_plain(data["inputs"][n], s.edges) for n, s in made.inputs.items()}
            made.outputs = {n: Sketch.from_plain(data["outputs"][n], s.edges) for n, s in made.outputs.items()}
            made.categories = {
                n: Counts.from_plain(data["categories"][n], c.counts) for n, c in made.categories.items()
            }
            made.classes = Counts.from_plain(data["classes"], made.classes.counts)
            made.confidence = Confidence.from_plain(data["confidence"], made.confidence.table)
        except (KeyError, TypeError, ValueError) as error:
            raise PlainDataError(f"a monitoring window cannot be read ({error})") from error
        return made
