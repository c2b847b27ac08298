"""Between the server and a model's process: small messages over a socket, bodies in shared memory."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import struct
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Union

ALIGNMENT = 64
"""Binary tensors of a request start at multiples of this many bytes in shared memory."""

INLINE = 8192
"""Replies up to this many bytes go over the socket: a second look at shared memory would cost more."""

NICENESS = 10
"""Of what gets a bundle ready while another one answers: it has a tenth of the processor time that those get."""

_ENCODER = json.JSONEncoder(separators=(",", ":"))
_HEAD = struct.Struct("<II")
_KEPT = 4 * 2**20  # bytes of shared memory that stay in RAM after a large body
_REMOVE = getattr(mmap, "MADV_REMOVE", None)

Part = Union[bytes, memoryview]


def frame(message: Mapping[str, Any], tail: bytes = b"") -> bytes:
    """A message for the socket: two lengths, JSON, and bytes as they are."""
    head = _ENCODER.encode(message).encode()
    return b"".join((_HEAD.pack(len(head), len(tail)), head, tail))


class Frames:
    """Takes what comes from a stream and gives whole messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, content: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Messages that are whole with `content`, in order, each with its tail."""
        self._buffer += content
        while len(self._buffer) >= _HEAD.size:
            head, tail = _HEAD.unpack_from(self._buffer)
            end = _HEAD.size + head + tail
            if len(self._buffer) < end:
                return
            whole = bytes(self._buffer[_HEAD.size : end])
            del self._buffer[:end]
            yield json.loads(whole[:head]), whole[head:]


class Arena:
    """Shared memory of one process: room for the requests that it works on, and as much for its replies.

    Pages take RAM when they are first written, and `trim` gives those of a large body back.

    Attributes:
        fd: File descriptor to inherit.
        room: Bytes for requests, and for replies.
        requests: The room for requests.
        replies: The room for replies.
    """

    def __init__(self, fd: int, room: int) -> None:
        self.fd, self.room = fd, room
        self._map = mmap.mmap(fd, 2 * room)
        whole = memoryview(self._map)
        self.requests, self.replies = whole[:room], whole[room:]
        whole.release()

    @classmethod
    def make(cls, largest: int) -> Arena:
        """A new one, for bodies up to `largest` bytes.

        Raises:
            OSError: There is no room in the address space or in RAM.
        """
        room = -(-(largest + ALIGNMENT) // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create("edgekit")
        else:  # Python was built against an old C library
            with tempfile.TemporaryFile(dir="/dev/shm") as file:
                fd = os.dup(file.fileno())
        try:
            os.ftruncate(fd, 2 * room)
            return cls(fd, room)
        except BaseException:
            os.close(fd)
            raise

    def write(self, parts: Sequence[Part], place: int) -> int:
        """Put a request's parts one behind the other; the place behind them."""
        for part in parts:
            end = place + len(part)
            self.requests[place:end] = part
            place = end
        return place

    def trim(self, used: int) -> None:
        """Give pages back after `used` bytes of requests or replies, where that is much."""
        if used > _KEPT and _REMOVE is not None:
            with contextlib.suppress(OSError):  # an emulator may not know it
                self._map.madvise(_REMOVE)

    def close(self) -> None:
        """Give everything back; closing twice is allowed."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
            self.requests.release()
            self.replies.release()
            with contextlib.suppress(BufferError):  # an interpreter still looks at a request
                self._map.close()
