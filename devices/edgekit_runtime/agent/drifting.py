"""When a window's drift is worth an alarm: once when it stays, once when it is gone. Standard library alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

RAISED_AFTER = 2
"""Windows over the limit in a row. One number is over in one of a hundred windows without drift, and there are many."""

LOWERED_AFTER = 3
"""Windows under it in a row: what hovers at the limit is one alarm."""

_NAMED = 5  # numbers that a sentence names


@dataclass(frozen=True)
class Drifting:
    """What of one slot's bundle has drifted.

    Attributes:
        digest: The bundle.
        alarmed: Numbers (``inputs.age``) that an alarm was raised for.
        streaks: Number to windows in a row that speak against what was said of it last.
    """

    digest: str = ""
    alarmed: frozenset[str] = frozenset()
    streaks: Mapping[str, int] = field(default_factory=dict)

    def take(self, windows: Iterable[Mapping[str, Any]]) -> tuple[Drifting, list[str]]:
        """Closed windows have come.

        Args:
            windows: Oldest first, each with ``digest`` and ``drift``: number to what is over its limit, in words, empty
                where nothing is. Numbers that nobody could judge are not there, and stay what they were.

        Returns:
            What has drifted now, and a sentence for each alarm.
        """
        now, sentences = self, []
        for window in windows:
            drift = window.get("drift") or {}
            if window.get("digest") != now.digest:
                now = Drifting(str(window.get("digest", "")))
            streaks, alarmed = dict(now.streaks), set(now.alarmed)
            raised, lowered = [], []
            for name, over in drift.items():
                streak = streaks.pop(name, 0) + 1
                if bool(over) == (name in alarmed):
                    continue
                if streak < (RAISED_AFTER if over else LOWERED_AFTER):
                    streaks[name] = streak
                elif over:
                    alarmed.add(name)
                    raised.append(f"{name} ({over})")
                else:
                    alarmed.remove(name)
                    lowered.append(name)
            now = Drifting(now.digest, frozenset(alarmed), streaks)
            if raised:
                sentences.append(f"drift in {RAISED_AFTER} windows: {_listed(raised)}")
            if lowered:
                sentences.append(f"no drift any more: {_listed(lowered)}")
        return now, sentences


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
