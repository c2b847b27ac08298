"""Which sample trains, which calibrates and which measures: by content, so that nothing is on both sides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from edgekit.data.sample import Sample
from edgekit.errors import DataError

SPLITS = ("train", "validation", "test")
NAMES = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
"""What people call their splits, in lower case."""

Splits = dict[str, list[Sample]]


def overlap(one: Iterable[Sample], other: Iterable[Sample]) -> list[str]:
    """Names of the samples of `one` whose content is in `other` too."""
    known = {s.sha256 for s in other}
    return [s.id for s in one if s.sha256 in known]


def split_by_hash(samples: Iterable[Sample]) -> Splits:
    """80 % train, 10 % validation, 10 % test, by content hash: the same content is always in the same split.

    Of a handful of samples none may fall into the test split; then the one with the smallest hash does.
    """
    splits: Splits = {name: [] for name in SPLITS}
    for sample in samples:
        place = int(sample.sha256[:8], 16) % 10
        splits["train" if place < 8 else SPLITS[place - 7]].append(sample)
    if not splits["test"] and not splits["validation"] and splits["train"]:
        smallest = min(s.sha256 for s in splits["train"])
        splits["test"] = [s for s in splits["train"] if s.sha256 == smallest]
        splits["train"] = [s for s in splits["train"] if s.sha256 != smallest]
    return splits


class Settled(NamedTuple):
    """Splits as they are used.

    Attributes:
        splits: Name to samples.
        remarks: What there is to say about them, one sentence each.
        split_here: Whether nothing was held out by whoever made the data set, so that it was split by hash.
    """

    splits: Splits
    remarks: tuple[str, ...] = ()
    split_here: bool = False


def settle(given: Mapping[str, Sequence[Sample]], where: str) -> Settled:
    """The splits to use, and what there is to say about them.

    Samples without a split (``""``), or a training split alone, are split by hash. Training samples whose content is
    held out too are left out: they would make the held-out figures look better than they are.

    Args:
        given: Split name, or ``""``, to samples.
        where: The data set, for messages.

    Raises:
        DataError: There are no samples at all.
    """
    if not any(given.values()):
        raise DataError(f"{where} holds no samples")
    held_names = [n for n in ("validation", "test") if given.get(n)]
    if "" in given or not held_names:
        splits = split_by_hash([s for v in given.values() for s in v])
        remarks: tuple[str, ...] = ()
        if splits["train"]:
            remarks = (f"{where} has no held-out split; a tenth was held out by content hash",)
        return Settled(splits, remarks, split_here=True)
    held = {s.sha256 for name in held_names for s in given[name]}
    splits = {name: list(v) for name, v in given.items()}
    leaked = [s for s in splits.get("train", []) if s.sha256 in held]
    if not leaked:
        return Settled(splits)
    splits["train"] = [s for s in splits["train"] if s.sha256 not in held]
    many = f"{len(leaked)} training samples are" if len(leaked) > 1 else "1 training sample is"
    remark = f"{many} held out too, as {leaked[0].id}, and left out of training and calibration"
    return Settled(splits, (remark,))
