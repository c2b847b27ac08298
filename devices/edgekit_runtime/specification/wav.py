"""Wav files to waveforms, and waveforms to another rate.

A reader of our own, since the standard library's `wave` knows neither float samples nor (before Python 3.12) the
extensible header that recorders write for 24 bits.
"""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from edgekit_runtime.errors import SpecificationError
from edgekit_runtime.specification.raw import read_raw

MAX_FRAMES = 48_000 * 3600
"""Sound longer than this (an hour at 48 kHz) is refused."""

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_STREAMED = 0x7FFF_F000  # recorders that write to a pipe state this or more, as they cannot know the length


def read_wav(raw: Any) -> tuple[np.ndarray, int]:
    """(mono float32 waveform in -1..1, samples a second) of wav bytes or a path; channels are averaged.

    PCM of 8, 16, 24 and 32 bits and float of 32 and 64 bits.

    Raises:
        SpecificationError: Not such a wav file, empty, truncated, or longer than `MAX_FRAMES`.
    """
    content, where = read_raw(raw, "sound")
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise SpecificationError(f"{where} is not a wav file")
    form, data = _chunks(content, where)
    code, channels, rate, block, bits = (
        int.from_bytes(form[a:b], "little") for a, b in ((0, 2), (2, 4), (4, 8), (12, 14), (14, 16))
    )
    if code == _EXTENSIBLE:  # the format proper opens the identifier of the sub-format
        code = int.from_bytes(form[24:26], "little")
    if (code, bits) not in _READERS:
        kind = {_PCM: "PCM", _FLOAT: "float"}.get(code, f"format {code}")
        raise SpecificationError(
            f"{where} holds {kind} of {bits} bits", "only PCM of 8 to 32 bits and float are read: convert it"
        )
    if not 0 < channels <= 64 or rate == 0 or block != channels * bits // 8:
        raise SpecificationError(f"the header of {where} contradicts itself")
    frames = len(data) // block
    if frames == 0:
        raise SpecificationError(f"{where} holds no sound")
    if frames > MAX_FRAMES:
        raise SpecificationError(f"{where} has {frames:,} frames, more than {MAX_FRAMES:,}")
    samples = _READERS[code, bits](data[: frames * block])
    if channels > 1:
        samples = samples.reshape(-1, channels).mean(axis=1, dtype=np.float32)
    if code == _FLOAT and not np.isfinite(samples).all():
        raise SpecificationError(f"{where} holds samples that are not finite")
    return samples, rate


def _chunks(content: bytes, where: str) -> tuple[bytes, memoryview]:
    """The format chunk and the samples."""
    form, at = b"", 12
    while at + 8 <= len(content):
        kind, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        body = memoryview(content)[at + 8 : at + 8 + size]
        if len(body) < size and not (kind == b"data" and size >= _STREAMED):
            break
        if kind == b"fmt " and size >= 16:
            form = bytes(body)
        elif kind == b"data":
            if not form:
                break
            return form, body
        at += 8 + size + size % 2
    raise SpecificationError(f"{where} is a wav file that is truncated or corrupt")


def _pcm24(data: memoryview) -> np.ndarray:
    padded = np.zeros((len(data) // 3, 4), np.uint8)
    padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    return padded.view("<i4")[:, 0].astype(np.float32) / np.float32(2**31)


def _whole(dtype: str, full: int, middle: int = 0) -> Callable[[memoryview], np.ndarray]:
    """Reader of whole numbers around `middle` with full scale `full`."""
    return lambda data: (np.frombuffer(data, dtype).astype(np.float32) - np.float32(middle)) / np.float32(full)


def _floats(dtype: str) -> Callable[[memoryview], np.ndarray]:
    return lambda data: np.frombuffer(data, dtype).astype(np.float32)


_READERS: dict[tuple[int, int], Callable[[memoryview], np.ndarray]] = {
    (_PCM, 8): _whole("u1", 2**7, 2**7),  # 8 bits are unsigned
    (_PCM, 16): _whole("<i2", 2**15),
    (_PCM, 24): _pcm24,
    (_PCM, 32): _whole("<i4", 2**31),
    (_FLOAT, 32): _floats("<f4"),
    (_FLOAT, 64): _floats("<f8"),
}


def resample(waveform: np.ndarray, old: int, new: int) -> np.ndarray:
    """A float32 waveform at another rate, band-limited, by cutting or padding its spectrum.

    The method of ``scipy.signal.resample``: the sound is taken as periodic, so its ends ring a little. Frequencies
    above half the lower rate are removed.
    """
    length = len(waveform)
    wanted = max(round(length * new / old), 1)
    if wanted > MAX_FRAMES:
        raise SpecificationError(f"the sound has {wanted:,} frames at {new} a second, more than {MAX_FRAMES:,}")
    spectrum = np.fft.rfft(waveform.astype(np.float64))
    shared = min(length, wanted)
    kept = spectrum[: shared // 2 + 1].copy()
    if shared % 2 == 0 and wanted != length:  # the bin at half the rate stands for two, or for half of one
        kept[-1] *= 2 if wanted < length else 0.5
    return np.asarray(np.fft.irfft(kept, wanted) * (wanted / length), np.float32)
