"""What comes with a JetPack: Python, CUDA, cuDNN, TensorRT, and which operator table that is (``tensorrt.json``)."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit_converters.errors import UsageError
from edgekit_converters.placement.tensorrt import tables


@dataclass(frozen=True)
class JetPack:
    """One release.

    Attributes:
        version: As ``6.2``.
        python: Python of its system.
        cuda: CUDA version.
        cudnn: cuDNN version, empty where nobody told us.
        tensorrt: TensorRT version.
        table: The operator table that is held against it: its own, else the last one before.
        opset: Highest ONNX opset that this table's parser reads.
    """

    version: str
    python: str
    cuda: str
    cudnn: str
    tensorrt: str
    table: str
    opset: int

    def in_words(self) -> str:
        """As ``JetPack 6.2: Python 3.10, CUDA 12.6, cuDNN 9.3, TensorRT 10.3 (ONNX opset up to 20).`` is."""
        cudnn = f"cuDNN {self.cudnn}, " if self.cudnn else ""
        return (
            f"JetPack {self.version}: Python {self.python}, CUDA {self.cuda}, {cudnn}TensorRT {self.tensorrt} "
            f"(ONNX opset up to {self.opset})."
        )


def jetpacks() -> tuple[JetPack, ...]:
    """Every release that is known, oldest first."""
    rows, known = tables()["jetpack"]["rows"], tables()["tables"]
    return tuple(JetPack(version, **row, opset=known[row["table"]]["opset"]) for version, row in rows.items())


def jetpack(version: str) -> JetPack:
    """The release called `version`; a third number is left out (``6.2.1`` is ``6.2``).

    Raises:
        UsageError: Nothing is known of it.
    """
    short = ".".join(version.split(".")[:2])
    for release in jetpacks():
        if release.version == short:
            return release
    raise UsageError(
        f"nothing is known of JetPack {version!r:.20}", f"there are {', '.join(r.version for r in jetpacks())}"
    )
