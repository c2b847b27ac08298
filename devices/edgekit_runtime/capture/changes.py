"""Which answers are worth telling: thresholds with hysteresis, a choice of classes, and changes that last."""

from __future__ import annotations

import dataclasses
from collections import Counter, deque
from collections.abc import Hashable
from typing import Any

from edgekit_runtime.capture.plan import WatchSettings


class Changes:
    """Filters one answer after the other; what it remembers is bounded by `agree`.

    A list of boxes is a set of labels, each of which comes and goes by its own majority; a list of classes is its best
    one; anything else is its value.
    """

    def __init__(self, settings: WatchSettings) -> None:
        self._settings = settings
        self._least = settings.min_score
        self._release = self._least if settings.release_score is None else settings.release_score
        self._needed, of = settings.agree
        self._recent: deque[frozenset[str]] = deque(maxlen=of)
        self._values: deque[Hashable] = deque(maxlen=of)
        self._labels: frozenset[str] = frozenset()
        self._told: Any = None
        self._first = True

    def __call__(self, answer: Any) -> tuple[bool, Any]:
        """Whether to tell, and what is left of the answer."""
        scored = isinstance(answer, list) and all(hasattr(a, "label") and hasattr(a, "score") for a in answer)
        if scored:
            answer = self._wanted(answer)
        if self._settings.skip_empty and not self._settings.changes_only and scored and not answer:
            return False, answer
        if not self._settings.changes_only:
            return True, answer
        if not scored:
            return self._by_value(answer), answer
        boxes = any(hasattr(a, "box") for a in answer)
        seen = {a.label for a in answer} if boxes else {a.label for a in answer[:1]}
        changed = self._by_label(frozenset(seen))
        return changed and not (self._settings.skip_empty and not answer), answer

    def _wanted(self, answer: list[Any]) -> list[Any]:
        held = self._labels if self._settings.changes_only else frozenset()
        classes = self._settings.classes
        return [
            a
            for a in answer
            if (not classes or a.label in classes) and a.score >= (self._release if a.label in held else self._least)
        ]

    def _by_label(self, seen: frozenset[str]) -> bool:
        self._recent.append(seen)
        counts = Counter(label for labels in self._recent for label in labels)
        come = {label for label, count in counts.items() if count >= self._needed}
        stay = {label for label in self._labels if len(self._recent) - counts[label] < self._needed}
        now = frozenset(come | stay)
        changed = now != self._labels or (self._first and len(self._recent) >= self._needed)
        if changed:
            self._first = False
        self._labels = now
        return changed

    def _by_value(self, answer: Any) -> bool:
        if isinstance(answer, (int, float)) and not isinstance(answer, bool):
            moved = self._told is None or abs(answer - self._told) > self._settings.min_change
            if moved:
                self._told = answer
            return moved
        value = repr(dataclasses.asdict(answer) if dataclasses.is_dataclass(answer) else answer)  # type: ignore[arg-type]
        self._values.append(value)
        changed = value != self._told and self._values.count(value) >= self._needed
        if changed:
            self._told = value
        return changed
