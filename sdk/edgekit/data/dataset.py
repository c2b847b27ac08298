"""What every data set is: samples in splits."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekit.data.sample import Sample
from edgekit_runtime.manifest import DataInfo


@dataclass(frozen=True)
class Dataset:
    """Samples in splits.

    Attributes:
        kind: ``image``, ``audio``, ``table`` or ``tensor``.
        task: ``classification``, ``regression``, ``detection`` or ``none``.
        labels: Class names in index order.
        splits: Split name to samples.
        remarks: What a user should know about it, one sentence each: duplicates left out, splits made up.
        split_here: Whether whoever made it held nothing out, so that the splits are by content hash.
        columns: Feature names in order, for tables.
    """

    kind: str
    task: str
    labels: tuple[str, ...]
    splits: Mapping[str, Sequence[Sample]]
    remarks: tuple[str, ...] = ()
    split_here: bool = False
    columns: tuple[str, ...] = ()

    def split(self, name: str) -> Sequence[Sample]:
        """A split; empty where there is none. ``test`` falls back to ``validation``."""
        found = self.splits.get(name, ())
        return found or (self.splits.get("validation", ()) if name == "test" else ())

    def info(self, role: str, samples: Sequence[Sample], origin: str) -> DataInfo:
        """What the manifest says of some samples."""
        digest = hashlib.sha256("\n".join(sorted(s.sha256 for s in samples)).encode()).hexdigest()
        counts: Counter[str] = Counter()
        if self.task == "classification":
            counts.update(self.labels[int(s.label)] for s in samples if s.label is not None)
        if self.task == "detection":
            counts.update(self.labels[b.index] for s in samples for b in s.boxes or ())
        return DataInfo(role, len(samples), digest, dict(sorted(counts.items())), origin)
