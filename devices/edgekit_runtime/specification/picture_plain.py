"""PNG and BMP without any decoder installed: numpy and zlib, for boards that have nothing else.

The common kinds only: PNG of 8 bits a channel without interlacing, BMP of 24 or 32 bits. The file's header and
checksums have been checked before (`picture_header`).
"""

from __future__ import annotations

import zlib
from typing import Optional

import numpy as np

from edgekit_runtime.errors import SpecificationError

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # PNG colour type to samples a pixel


def decode_png(content: bytes, where: str) -> Optional[np.ndarray]:
    """RGB picture, uint8 (height, width, 3), or None where the file is of a kind that is not read here.

    Raises:
        SpecificationError: The compressed data is corrupt.
    """
    chunks: dict[bytes, bytes] = {}
    at = 8
    while at < len(content):
        length, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        chunks[kind] = chunks.get(kind, b"") + content[at + 8 : at + 8 + length]
        at += 12 + length
    header = chunks[b"IHDR"]
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    depth, colour, _, _, interlaced = header[8:13]
    if depth != 8 or interlaced or colour not in _CHANNELS:
        return None
    channels = _CHANNELS[colour]
    expected = height * (1 + width * channels)
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(chunks.get(b"IDAT", b""), expected)
    except zlib.error as error:
        raise SpecificationError(f"{where} cannot be decoded; it is corrupt") from error
    if len(data) != expected:
        raise SpecificationError(f"{where} cannot be decoded; it is corrupt")
    lines = np.frombuffer(data, np.uint8).reshape(height, -1)
    pixels = _unfilter(lines[:, 0], lines[:, 1:], channels, where).reshape(height, width, channels)
    if colour == 3:
        palette = np.frombuffer(chunks.get(b"PLTE", b""), np.uint8).reshape(-1, 3)
        if pixels.max(initial=0) >= len(palette):
            raise SpecificationError(f"{where} cannot be decoded; it is corrupt")
        return np.asarray(palette[pixels[..., 0]])
    return np.repeat(pixels[..., :1], 3, axis=2) if channels < 3 else np.ascontiguousarray(pixels[..., :3])


def _unfilter(filters: np.ndarray, lines: np.ndarray, step: int, where: str) -> np.ndarray:
    """Undo PNG's row filters (PNG specification, section 9); all sums are modulo 256."""
    result = np.zeros_like(lines)
    above = np.zeros(lines.shape[1], np.uint8)
    for row, (kind, line) in enumerate(zip(filters, lines)):
        if kind == 0:
            result[row] = line
        elif kind == 1:  # each adds its left neighbour: a running sum per channel
            result[row] = np.cumsum(line.reshape(-1, step), axis=0, dtype=np.uint8).reshape(-1)
        elif kind == 2:
            result[row] = line + above
        elif kind in (3, 4):
            result[row] = _sequential(int(kind), line.tolist(), above.tolist(), step)
        else:
            raise SpecificationError(f"{where} cannot be decoded; it is corrupt")
        above = result[row]
    return result


def _sequential(kind: int, line: list[int], above: list[int], step: int) -> list[int]:
    """The average (3) and Paeth (4) filters, where each byte needs the finished one to its left."""
    done = [0] * step + line
    before = [0] * step + above
    for i in range(step, len(done)):
        left, up, corner = done[i - step], before[i], before[i - step]
        if kind == 3:
            guess = (left + up) >> 1
        else:
            to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
            guess = left if to_left <= to_up and to_left <= to_corner else up if to_up <= to_corner else corner
        done[i] = (done[i] + guess) & 255
    return done[step:]


def decode_bmp(content: bytes, where: str) -> Optional[np.ndarray]:
    """RGB picture, uint8 (height, width, 3), or None where the file is of a kind that is not read here."""

    def number(at: int, length: int) -> int:
        return int.from_bytes(content[at : at + length], "little", signed=length == 4)

    bits, packing = number(28, 2), number(30, 4)
    if number(14, 4) < 40 or packing != 0 or bits not in (24, 32):
        return None
    width, height = number(18, 4), number(22, 4)
    stride = (width * bits + 31) // 32 * 4
    rows = np.frombuffer(content, np.uint8, stride * abs(height), number(10, 4)).reshape(abs(height), stride)
    pixels = rows[:, : width * bits // 8].reshape(abs(height), width, bits // 8)[..., 2::-1]
    return np.ascontiguousarray(pixels[::-1] if height > 0 else pixels)
