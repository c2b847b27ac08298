"""JSON lines in a file that is turned over by size."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Optional

from edgekit_runtime.capture.settings import path_field
from edgekit_runtime.capture.sinks.base import About, Away, Sender, Sink

_TAIL = 2**20


class _Sender(Sender):
    def __init__(self, path: Path, largest: int, files: int) -> None:
        self._path, self._largest, self._files = path, largest, files
        self._out: Optional[IO[bytes]] = None
        self._size = 0

    def send(self, messages: Sequence[tuple[str, bytes]]) -> int:
        done = 0
        try:
            for _, body in messages:
                self._write(body + b"\n")
                done += 1
        except OSError as error:
            self._undo()
            if not done:
                raise Away(f"cannot write {self._path} ({error.strerror or error})") from error
        return done

    def _write(self, line: bytes) -> None:
        if self._out is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            _cut_torn_line(self._path)
            self._out = self._path.open("ab", buffering=0)
            self._size = self._out.tell()
        if self._size and self._size + len(line) > self._largest:
            self._turn()
            self._write(line)
            return
        view = memoryview(line)
        while view:
            view = view[self._out.write(view) or 0 :]
        self._size += len(line)

    def _turn(self) -> None:
        """NAME.1 becomes NAME.2 and so on, NAME becomes NAME.1: each by a rename, which is whole or not at all."""
        self.close()
        for number in range(self._files - 1, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            if older.exists():
                older.replace(self._path.with_name(f"{self._path.name}.{number + 1}"))
        self._path.replace(self._path.with_name(f"{self._path.name}.1"))

    def _undo(self) -> None:
        """No half line stays behind a write that failed."""
        if self._out is not None:
            try:
                self._out.truncate(self._size)
            except OSError:
                pass
            self._out.close()
            self._out = None

    def close(self, state: Optional[str] = None) -> None:
        if self._out is not None:
            try:
                os.fsync(self._out.fileno())
            except OSError:  # a pipe or a device
                pass
            self._out.close()
            self._out = None


def _cut_torn_line(path: Path) -> None:
    """A power cut may have left half a line."""
    try:
        if not path.is_file():
            return
        with path.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            tail = file.read()
            if tail and not tail.endswith(b"\n"):
                file.truncate(size - len(tail) + tail.rfind(b"\n") + 1)
    except FileNotFoundError:
        pass


@dataclass(frozen=True)
class File(Sink):
    """A file of JSON lines.

    Attributes:
        path: The file; older ones are ``NAME.1`` (the newest of them) to ``NAME.files``.
        max_bytes: Size at which a new one is begun.
        files: Older ones that are kept.
        room: Messages that may wait in memory, as while the disk is full.
    """

    path: str = path_field()
    max_bytes: int = 10_000_000
    files: int = 5
    room: int = 1000

    def __post_init__(self) -> None:
        if self.max_bytes < 1 or self.files < 1 or self.room < 1:
            raise ValueError("max_bytes, files and room must be 1 or more")

    def open(self, about: About) -> Sender:
        return _Sender(Path(self.path), self.max_bytes, self.files)
