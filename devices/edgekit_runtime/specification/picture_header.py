"""What a picture file says of itself before any decoder is asked: size, orientation, whether its end is there.

Decoders differ in what they do with truncated files and EXIF orientation, and some allocate what a header asks for.
Reading these here makes every decoder see checked files only, and makes the answers equal whichever is installed.
Where libjpeg would skip over garbage between markers, this refuses: the size read here must be the one decoded.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from edgekit_runtime.errors import SpecificationError

PNG = b"\x89PNG\r\n\x1a\n"
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_CORE_HEADER = 12  # BITMAPCOREHEADER of OS/2 has extents of 16 bits
_UNCOMPRESSED, _BITFIELDS = 0, 3


@dataclass(frozen=True)
class Header:
    """What the header of a picture file states.

    Attributes:
        form: ``jpeg``, ``png`` or ``bmp``.
        height: As stored, in pixels.
        width: As stored, in pixels.
        orientation: EXIF orientation, 1 (upright) to 8; 1 where there is none.
    """

    form: str
    height: int
    width: int
    orientation: int = 1


def read_header(content: bytes, where: str = "the picture") -> Header:
    """Header of a JPEG, PNG or BMP file.

    Raises:
        SpecificationError: None of these formats, or truncated or malformed.
    """
    if content[:2] == b"\xff\xd8":
        return _jpeg(content, where)
    if content[:8] == PNG:
        return _png(content, where)
    if content[:2] == b"BM":
        return _bmp(content, where)
    raise SpecificationError(f"{where} is not a JPEG, PNG or BMP file")


def _truncated(where: str, form: str) -> SpecificationError:
    return SpecificationError(f"{where} is a {form} file that is truncated or corrupt")


def _jpeg(content: bytes, where: str) -> Header:
    size, orientation, at = None, 1, 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        length = int.from_bytes(content[at + 2 : at + 4], "big")
        body = content[at + 4 : at + 2 + length]
        # markers without a length (restart, start, end) have no business before the first scan
        if not (0xC0 <= marker <= 0xCF or 0xDA <= marker <= 0xFE) or len(body) != length - 2:
            break
        if marker in _START_OF_FRAME:
            if size is not None or len(body) < 5:
                break
            size = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
        elif marker == 0xE1 and body[:6] == b"Exif\0\0" and orientation == 1:
            orientation = _exif_orientation(body[6:])
        elif marker == 0xDA:  # the first scan; inside scans FF D9 cannot be but the end
            if size is None or content.rfind(b"\xff\xd9", at) < 0:
                break
            return Header("jpeg", *size, orientation)
        at += 2 + length
    raise _truncated(where, "JPEG")


def _png(content: bytes, where: str) -> Header:
    view, at, size, orientation = memoryview(content), 8, None, 1
    while at + 12 <= len(view):
        length = int.from_bytes(view[at : at + 4], "big")
        kind, end = bytes(view[at + 4 : at + 8]), at + 8 + length
        if end + 4 > len(view) or zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            break
        if (kind == b"IHDR") != (size is None) or (kind == b"IHDR" and length != 13):
            break
        if kind == b"IHDR":
            size = int.from_bytes(view[at + 12 : at + 16], "big"), int.from_bytes(view[at + 8 : at + 12], "big")
        elif kind == b"eXIf":
            orientation = _exif_orientation(bytes(view[at + 8 : end]))
        elif kind == b"IEND" and size is not None:
            return Header("png", *size, orientation)
        at = end + 4
    raise _truncated(where, "PNG")


def _bmp(content: bytes, where: str) -> Header:
    def number(at: int, length: int) -> int:
        return int.from_bytes(content[at : at + length], "little", signed=length == 4)

    kind = number(14, 4)
    if kind == _CORE_HEADER and len(content) >= 26:
        height, width, bits, packing = number(20, 2), number(18, 2), number(24, 2), _UNCOMPRESSED
    elif kind >= 40 and len(content) >= 54:
        height, width, bits, packing = abs(number(22, 4)), number(18, 4), number(28, 2), number(30, 4)
    else:
        raise _truncated(where, "BMP")
    row = (width * bits + 31) // 32 * 4
    if width < 0 or (packing in (_UNCOMPRESSED, _BITFIELDS) and number(10, 4) + row * height > len(content)):
        raise _truncated(where, "BMP")
    return Header("bmp", height, width)


def _exif_orientation(tiff: bytes) -> int:
    """Tag 0x0112 of the first directory of a TIFF block (EXIF 2.3, section 4.6.4); 1 where it makes no sense."""
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(tiff[:4])
    if order is None:
        return 1

    def number(at: int, length: int) -> int:
        # the literal keeps the type checker content where `order` would be any string
        return int.from_bytes(tiff[at : at + length], "little" if order == "little" else "big")

    directory = number(4, 4)
    for entry in range(number(directory, 2)):
        at = directory + 2 + 12 * entry
        if at + 12 > len(tiff):
            break
        if number(at, 2) == 0x0112 and number(at + 2, 2) == 3:
            value = number(at + 8, 2)
            return value if 1 <= value <= 8 else 1
    return 1
