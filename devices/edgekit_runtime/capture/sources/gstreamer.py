"""Whatever a GStreamer pipeline gives, through ``gst-launch-1.0``.

OpenCV's wheels are built without GStreamer, and the system's OpenCV does not go into a virtual environment: the program
is what every board has (Jetson's and the Pi's own elements included).
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

import numpy as np

from edgekit_runtime.capture.sources.base import End, Sample, Source, SourceLost, Taker
from edgekit_runtime.capture.sources.process import Program


class _Taker(Taker):
    def __init__(self, program: Program, width: int, height: int, stall: float) -> None:
        self._program, self._shape, self._stall = program, (height, width, 3), stall
        self._row = -(-width * 3 // 4) * 4  # GStreamer's rows begin at multiples of 4 bytes
        self._patience = max(stall, 20.0)

    def read(self) -> Sample:
        height, width, _ = self._shape
        try:
            content = self._program.read(self._row * height, self._patience)
        except SourceLost:
            if self._program.ended_well:
                raise End from None
            raise
        self._patience = self._stall
        rows = np.frombuffer(content, np.uint8).reshape(height, self._row)
        return Sample(np.ascontiguousarray(rows[:, : width * 3]).reshape(self._shape))

    def close(self) -> None:
        self._program.close()


@dataclass(frozen=True)
class GStreamer(Source):
    """A pipeline that ends in raw video; it is scaled to the size and made RGB.

    Attributes:
        pipeline: As gst-launch-1.0 takes it, without a sink: ``v4l2src device=/dev/video0``, ``libcamerasrc``,
            ``nvarguscamerasrc ! nvvidconv``.
        width: In pixels.
        height: In pixels.
        stall: Seconds without a picture after which it counts as lost.
    """

    pipeline: str
    width: int = 640
    height: int = 480
    stall: float = 10.0

    def __post_init__(self) -> None:
        if not (0 < self.width <= 8192 and 0 < self.height <= 8192):
            raise ValueError(f"{self.width} x {self.height} is no size of a picture")
        if self.stall <= 0 or not shlex.split(self.pipeline):
            raise ValueError("pipeline must not be empty, and stall be over 0")

    def open(self) -> Taker:
        ending = f"! videoconvert ! videoscale ! video/x-raw,format=RGB,width={self.width},height={self.height}"
        words = [*shlex.split(self.pipeline), *ending.split(), "!", "fdsink", "fd=1", "sync=false"]
        program = Program(["gst-launch-1.0", "-q", *words], "GStreamer", "apt install gstreamer1.0-tools")
        return _Taker(program, self.width, self.height, self.stall)
