"""The Raspberry Pi's own cameras, through picamera2 on the system's Python.

picamera2 is bound to the libcamera of the system and does not install into a virtual environment; a helper process
with the system's interpreter takes the pictures and hands them over a pipe.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit_runtime.capture.sources import picamera_helper
from edgekit_runtime.capture.sources.base import Sample, Source, SourceLost, Taker
from edgekit_runtime.capture.sources.process import Program

_LARGEST = 64 * 2**20


class _Taker(Taker):
    def __init__(self, program: Program, stall: float) -> None:
        self._program, self._stall = program, stall
        self._patience = max(stall, 20.0)  # libcamera takes its time to start

    def read(self) -> Sample:
        header = self._program.read(picamera_helper.HEADER.size, self._patience)
        self._patience = self._stall
        magic, width, height, channels, taken, size = picamera_helper.HEADER.unpack(header)
        if magic != picamera_helper.MAGIC or channels != 3 or size != width * height * 3 or not 0 < size <= _LARGEST:
            raise SourceLost("picamera2's helper sent what is no frame", "its Python or picamera2 may print to it")
        pixels = np.frombuffer(self._program.read(size, self._stall), np.uint8)
        return Sample(pixels.reshape(height, width, 3), taken=taken / 1e9)

    def close(self) -> None:
        self._program.close()


@dataclass(frozen=True)
class Picamera2(Source):
    """A camera on the ribbon cable.

    Attributes:
        camera: Number of the camera.
        width: In pixels.
        height: In pixels.
        rate: Pictures a second; 0 for the camera's own.
        python: The interpreter that has picamera2.
        stall: Seconds without a picture after which it counts as lost.
    """

    camera: int = 0
    width: int = 640
    height: int = 480
    rate: float = 0.0
    python: str = "/usr/bin/python3"
    stall: float = 10.0

    def __post_init__(self) -> None:
        if not (0 < self.width <= 8192 and 0 < self.height <= 8192):
            raise ValueError(f"{self.width} x {self.height} is no size of a picture")
        if self.stall <= 0:
            raise ValueError("stall must be over 0")

    def open(self) -> Taker:
        command = [self.python, str(Path(picamera_helper.__file__))]
        for name in ("camera", "width", "height", "rate"):
            command += [f"--{name}", str(getattr(self, name))]
        # what a virtual environment sets is not for the system's interpreter
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
        return _Taker(Program(command, "picamera2", "apt install python3-picamera2", environment), self.stall)
