"""The zip archive of a bundle, in its strict form: read without trust, written the same every time.

Members are stored (never compressed), their data starts at multiples of `ALIGNMENT`, they follow each other from the
first byte of the file to its directory without gaps, and carry no dates. Nothing can hide between, before or behind
them, and every reader of zip files sees the same members.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Union

from edgekit_runtime.errors import BundleError

ALIGNMENT = 64
MAX_MEMBERS = 10_000

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_MAX_NAME = 200
_MAX_EXTRA = 256  # padding and zip64 sizes; what other tools write is shorter too
_DATE = (1980, 1, 1, 0, 0, 0)
_PADDING_ID = 0xD935  # the extra-field id that zipalign uses for padding
_ENCRYPTED = 0x1 | 0x40 | 0x2000

# PKWARE's APPNOTE.TXT 6.3.10, sections 4.3.7 (local header), 4.3.14 to 4.3.16 (end of the central directory)
_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL_BYTES = 46
_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ELSEWHERE = 0xFFFFFFFF  # a 32-bit size that is given in the zip64 extra field


def read_directory(file: IO[bytes], path: Path) -> dict[str, tuple[int, int]]:
    """Member name to (offset of its data, size), after checking that the archive is of the strict form.

    Raises:
        BundleError: It is not; says what and where.
    """
    directory_at = _check_end(file, path)
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        raise BundleError(f"{path} is not an edgekit bundle, or it is truncated ({error})") from error
    members: dict[str, tuple[int, int]] = {}
    end, last = 0, ""
    for info in sorted(infos, key=lambda i: i.header_offset):
        name = info.filename
        _check_info(info, members, path)
        if info.header_offset != end:
            what = f"overlaps {last!r}" if info.header_offset < end else "does not follow what is before it"
            raise BundleError(f"{path}: member {name!r} {what}; the file is altered")
        start = _check_local_header(file, info, path)
        end, last = start + info.file_size, name
        members[name] = (start, info.file_size)
        if end > directory_at:
            raise BundleError(f"{path} is truncated or altered: member {name!r} ends beyond the members' part")
    if end != directory_at:
        raise BundleError(f"{path} holds {directory_at - end} bytes that belong to no member")
    return members


def _check_end(file: IO[bytes], path: Path) -> int:
    """Where the directory begins; its size is checked first, for it is read into memory whole."""
    total = file.seek(0, os.SEEK_END)
    tail = min(total, _END.size + _END64_LOCATOR.size + _END64.size)
    file.seek(total - tail)
    content = file.read(tail)
    broken = BundleError(
        f"{path} is not an edgekit bundle, or it is truncated (it does not end as one)", "fetch or export it again"
    )
    if len(content) < _END.size:
        raise broken
    signature, _, _, _, count, size, start, comment = _END.unpack(content[-_END.size :])
    if signature != b"PK\x05\x06" or comment:
        raise broken
    end = total - _END.size
    locator = content[-_END.size - _END64_LOCATOR.size : -_END.size]
    if locator[:4] == b"PK\x06\x07" and len(content) == tail == _END.size + _END64_LOCATOR.size + _END64.size:
        signature, _, _, _, _, _, _, count, size, start = _END64.unpack(content[: _END64.size])
        if signature != b"PK\x06\x06":
            raise broken
        end = total - tail
    if start + size != end:
        raise broken
    if count > MAX_MEMBERS or size > MAX_MEMBERS * (_CENTRAL_BYTES + _MAX_NAME + _MAX_EXTRA):
        raise BundleError(f"{path} has {count} members, more than {MAX_MEMBERS}, or its directory is too large")
    return int(start)


def _check_info(info: zipfile.ZipInfo, members: dict[str, tuple[int, int]], path: Path) -> None:
    name = info.filename
    check_member_name(name, str(path))
    if name in members:
        raise BundleError(f"{path}: member {name!r} is there twice")
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        raise BundleError(f"{path}: member {name!r} is compressed, which bundles never are")
    if info.flag_bits & _ENCRYPTED:
        raise BundleError(f"{path}: member {name!r} is encrypted, which bundles never are")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise BundleError(f"{path}: member {name!r} is a link or another special file, which bundles never hold")


def _check_local_header(file: IO[bytes], info: zipfile.ZipInfo, path: Path) -> int:
    """Where the member's data starts; the header before it must say the same as the directory."""
    name = info.filename
    file.seek(info.header_offset)
    header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size or header[:4] != b"PK\x03\x04":
        raise BundleError(f"{path}: member {name!r} has no valid header; the file is truncated or altered")
    _, _, flags, method, _, _, _, packed, size, name_length, extra_length = _LOCAL.unpack(header)
    if file.read(name_length) != name.encode():
        raise BundleError(f"{path}: member {name!r} is called otherwise in its own header")
    sizes = {packed, size} - {_ELSEWHERE}
    if method != zipfile.ZIP_STORED or flags != info.flag_bits or sizes - {info.file_size}:
        raise BundleError(f"{path}: member {name!r} is described otherwise in its own header")
    return int(info.header_offset + _LOCAL.size + name_length + extra_length)


def check_member_name(name: str, where: str) -> None:
    """Refuse names that could leave a folder, hide, or mean different things on different systems.

    Raises:
        BundleError: The name is not allowed.
    """
    if len(name) > _MAX_NAME or not _NAME.fullmatch(name):
        raise BundleError(f"{where}: member name {name[:60]!r} is not allowed in a bundle")


def store(archive: zipfile.ZipFile, out: IO[bytes], name: str, content: Union[bytes, Path], size: int) -> str:
    """Append one member, aligned and without a date.

    Args:
        archive: Opened for writing on `out`.
        out: The file under it.
        name: Member name.
        content: Its content, or the file that holds it.
        size: Its size in bytes.

    Returns:
        SHA-256 of what was written, hexadecimal.
    """
    info = zipfile.ZipInfo(name, _DATE)
    info.create_system = 3
    info.external_attr = 0o644 << 16
    info.file_size = size
    large = size >= zipfile.ZIP64_LIMIT
    start = out.tell() + _LOCAL.size + len(name.encode()) + (20 if large else 0)
    gap = -(start + 4) % ALIGNMENT
    info.extra = struct.pack("<HH", _PADDING_ID, gap) + bytes(gap)
    digest = hashlib.sha256()
    with archive.open(info, "w", force_zip64=large) as member:
        for block in blocks(content):
            member.write(block)
            digest.update(block)
    return digest.hexdigest()


def blocks(content: Union[bytes, Path]) -> Iterator[bytes]:
    """The content in blocks, so that a model of gigabytes is never held in memory."""
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while True:
            block = file.read(2**20)
            if not block:
                return
            yield block
