"""What comes with a JetPack: Python, CUDA, cuDNN, TensorRT (``jetpack.json``)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional


@dataclass(frozen=True)
class JetPack:
    """One release.

    Attributes:
        version: As ``6.2``.
        python: Python of its system.
        cuda: CUDA version.
        cudnn: cuDNN version, empty where nobody told us.
        tensorrt: TensorRT version.
    """

    version: str
    python: str
    cuda: str
    cudnn: str
    tensorrt: str

    def in_words(self) -> str:
        """As ``JetPack 6.2: Python 3.10, CUDA 12.6, cuDNN 9.3, TensorRT 10.3`` is."""
        cudnn = f"cuDNN {self.cudnn}, " if self.cudnn else ""
        return f"JetPack {self.version}: Python {self.python}, CUDA {self.cuda}, {cudnn}TensorRT {self.tensorrt}"


def jetpacks() -> tuple[JetPack, ...]:
    """Every release that is known, oldest first."""
    return tuple(JetPack(version, **row) for version, row in _data()["rows"].items())


def release_of(version: str) -> Optional[JetPack]:
    """The release called `version`, of which the first two numbers count (``6.2.1`` is ``6.2``); None for unknown."""
    found = re.match(r"\d+\.\d+", version)
    return next((r for r in jetpacks() if found and r.version == found[0]), None)


def jetpack_of(linux: str) -> str:
    """Which JetPack a Jetson Linux (``36.4.3``) is, in words; empty for unknown."""
    return str(_data()["linux"].get(".".join(linux.split(".")[:2]), ""))


def _data() -> Any:
    # beside this file rather than through importlib.resources: that is what Python 3.9 does without trouble
    return json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
