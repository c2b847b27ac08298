"""Which TensorRT operator table (``tensorrt.json``) counts on which JetPack."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit_converters.errors import UsageError
from edgekit_converters.placement.tensorrt import tables
from edgekit_runtime.jetpack import JetPack, jetpacks, release_of


@dataclass(frozen=True)
class Brings:
    """A release and its table.

    Attributes:
        release: The JetPack.
        table: The operator table that is held against it: its TensorRT's own, else the last one before.
        opset: Highest ONNX opset that this table's parser reads.
    """

    release: JetPack
    table: str
    opset: int

    def in_words(self) -> str:
        """One sentence."""
        return f"{self.release.in_words()} (ONNX opset up to {self.opset})."


def jetpack(version: str) -> Brings:
    """The release called `version`; a third number is left out (``6.2.1`` is ``6.2``).

    Raises:
        UsageError: Nothing is known of it.
    """
    release = release_of(version)
    if release is None:
        raise UsageError(
            f"nothing is known of JetPack {version!r:.20}", f"there are {', '.join(r.version for r in jetpacks())}"
        )
    known = tables()["tables"]
    table = max((t for t in known if _numbers(t) <= _numbers(release.tensorrt)), key=_numbers)
    return Brings(release, table, known[table]["opset"])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
