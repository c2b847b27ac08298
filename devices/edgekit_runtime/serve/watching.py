"""What the monitors of a model's processes have counted, kept beyond the life of each process."""

from __future__ import annotations

import dataclasses
import logging
import secrets
from collections import deque
from collections.abc import Mapping
from typing import Any, Optional

from edgekit_runtime.manifest import Manifest
from edgekit_runtime.monitor.distance import Distances, Drift
from edgekit_runtime.monitor.prometheus import Family, of_model
from edgekit_runtime.monitor.window import Window
from edgekit_runtime.plain import PlainDataError
from edgekit_runtime.serve.source import Source

_LOG = logging.getLogger("edgekit_runtime")
_KEPT = 256  # closed windows that wait for the agent
_BUNDLES = 4  # bundles of one name whose counts are told

# the server's own counters have these names, and count requests that no model has seen, too
_RENAMED = {"edgekit_requests_total": "edgekit_calls_total", "edgekit_errors_total": "edgekit_call_errors_total"}


@dataclasses.dataclass
class _Counts:
    """One bundle's: of processes that are gone, and of those that are there."""

    manifest: Manifest
    gone: Optional[Window] = None
    live: dict[int, Window] = dataclasses.field(default_factory=dict)
    drift: Mapping[str, Mapping[str, Drift]] = dataclasses.field(default_factory=dict)

    def total(self) -> Optional[Window]:
        found = self.gone
        for window in self.live.values():
            found = window if found is None else found.merge(window)
        return found


class Watch:
    """Counts of one model, by bundle; and its closed windows, until somebody has taken them.

    Attributes:
        lost: Closed windows that were dropped because nobody took them.
    """

    def __init__(self) -> None:
        self.lost = 0
        self._counts: dict[str, _Counts] = {}
        self._of: dict[int, str] = {}
        self._open: dict[int, Mapping[str, Any]] = {}
        self._closed: deque[tuple[int, str, Mapping[str, Any], Mapping[str, str]]] = deque()
        self._number = 0
        self._run = secrets.token_hex(4)

    def take(self, child: int, source: Source, said: Mapping[str, Any]) -> None:
        """Take what a process told.

        Args:
            child: Which process.
            source: Its bundle.
            said: ``totals``, ``open`` (the open window), ``closed`` windows, ``drift`` of each of them, ``lost``
                windows and ``at``, the time.
        """
        counts = self._counts.setdefault(source.digest, _Counts(source.manifest))
        while len(self._counts) > _BUNDLES:
            idle = next((d for d, c in self._counts.items() if not c.live and d != source.digest), None)
            if idle is None:
                break
            del self._counts[idle]
        self._of[child] = source.digest
        try:
            counts.live[child] = Window.from_plain(said["totals"], source.manifest)
        except PlainDataError as error:
            _LOG.error("%s: %s", source.manifest.name, error)
            return
        for window, plain in zip(said["closed"], said["drift"]):
            drift = _drift(plain)
            self._close(source.digest, window, drift)
            counts.drift = drift or counts.drift
        self.lost += said["lost"]
        self._open[child] = {**said["open"], "ended": said["at"]}

    def open(self, child: int) -> bool:
        """Whether a process has an open window with something in it."""
        return bool(self._open.get(child, {}).get("requests"))

    def gone(self, child: int) -> None:
        """A process has ended; what it told last is all that is left of it, its open window included."""
        digest = self._of.pop(child, None)
        if digest is None or digest not in self._counts:
            return
        counts = self._counts[digest]
        last = counts.live.pop(child, None)
        if last is not None:
            counts.gone = last if counts.gone is None else counts.gone.merge(last)
        window = self._open.pop(child, {})
        if window.get("requests"):
            self._close(digest, window, {})

    def windows(self, since: str) -> dict[str, Any]:
        """Closed windows, for ``GET /v2/models/M/windows``.

        Args:
            since: The ``cursor`` of the answer before, which says that its windows have arrived: they are dropped here.
                Empty or another server's for all that are here.
        """
        run, _, number = since.partition("-")
        if run == self._run and number.isdigit():
            while self._closed and self._closed[0][0] <= int(number):
                self._closed.popleft()
        return {
            "windows": [{"number": n, "digest": d, "window": w, "drift": over} for n, d, w, over in self._closed],
            "cursor": f"{self._run}-{self._number}",
            "lost": self.lost,
        }

    def families(self, name: str) -> list[Family]:
        """For Prometheus."""
        found = []
        for digest, counts in self._counts.items():
            total = counts.total()
            if total is not None:
                found += of_model(total, {"model": name, "digest": digest[:16]}, counts.drift)
        return [dataclasses.replace(f, name=_RENAMED.get(f.name, f.name)) for f in found]

    def _close(self, digest: str, window: Mapping[str, Any], drift: Mapping[str, Mapping[str, Drift]]) -> None:
        self._number += 1
        over = {f"{side}.{name}": _over(d) for side, found in drift.items() for name, d in found.items()}
        self._closed.append((self._number, digest, window, over))
        if len(self._closed) > _KEPT:
            self._closed.popleft()
            self.lost += 1


def _over(drift: Drift) -> str:
    """The distances that are over their limits, in words; empty where none is."""
    found = ((name, getattr(drift.distances, name), getattr(drift.limits, name)) for name in drift.drifted)
    return ", ".join(f"{name} {value:.3g} over {limit:.3g}" for name, value, limit in found)


def _drift(said: Mapping[str, Any]) -> dict[str, dict[str, Drift]]:
    return {
        side: {
            name: Drift(Distances(*d["distances"]), Distances(*d["limits"]), d["samples"], tuple(d["drifted"]))
            for name, d in found.items()
        }
        for side, found in said.items()
    }
