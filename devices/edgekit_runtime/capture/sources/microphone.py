"""Sound from ALSA's ``arecord``, in chunks that overlap."""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass

from edgekit_runtime.capture.sources.base import Sample, Source, Taker
from edgekit_runtime.capture.sources.process import Program


class _Taker(Taker):
    def __init__(self, program: Program, rate: int, size: int, step: int, stall: float) -> None:
        self._program, self._rate, self._size, self._step, self._stall = program, rate, size, step, stall
        self._window = b""

    def read(self) -> Sample:
        wanted = self._step if self._window else self._size
        self._window = (self._window + bytes(self._program.read(wanted, self._stall)))[-self._size :]
        file = io.BytesIO()
        with wave.open(file, "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(self._rate)
            out.writeframes(self._window)
        return Sample(file.getvalue())

    def close(self) -> None:
        self._program.close()


@dataclass(frozen=True)
class Microphone(Source):
    """A sound card's input, mono, 16 bits.

    Attributes:
        device: ALSA's name, as ``plughw:1,0``.
        rate: Samples a second.
        seconds: Length of a chunk.
        step: Seconds from the beginning of one chunk to that of the next.
        stall: Seconds without sound after which it counts as lost.
    """

    device: str = "default"
    rate: int = 16_000
    seconds: float = 1.0
    step: float = 0.5
    stall: float = 10.0

    def __post_init__(self) -> None:
        if not 1000 <= self.rate <= 192_000 or not 0 < self.step <= self.seconds <= 60 or self.stall <= 0:
            raise ValueError("rate must be 1000 to 192000, and 0 < step <= seconds <= 60, stall over 0")

    def open(self) -> Taker:
        command = ["arecord", "-q", "-t", "raw", "-f", "S16_LE", "-c", "1", "-r", str(self.rate), "-D", self.device]
        program = Program(command, f"microphone {self.device}", "apt install alsa-utils")
        return _Taker(
            program, self.rate, 2 * int(self.rate * self.seconds), 2 * max(1, int(self.rate * self.step)), self.stall
        )
