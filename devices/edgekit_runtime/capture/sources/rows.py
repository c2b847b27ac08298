"""Sensor rows: CSV or JSON lines, from a file or standard input."""

from __future__ import annotations

import csv
import json
import os
import select
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, Union

from edgekit_runtime.capture.settings import path_field
from edgekit_runtime.capture.sources.base import End, Sample, Source, SourceLost, Taker

_LONGEST = 2**20
_LOOK = 0.2


@dataclass(frozen=True)
class Malformed:
    """In the place of a row: what is wrong with it.

    Attributes:
        reason: In one sentence.
    """

    reason: str


class _Taker(Taker):
    """Reads lines itself: a thread that waits in a buffered reader of the standard library dies with the process."""

    def __init__(self, descriptor: int, where: str, columns: tuple[str, ...]) -> None:
        self._in, self._where, self._columns = descriptor, where, columns
        self._line, self._rest = 0, b""
        self._closed = Event()

    def read(self) -> Sample:
        while True:
            line = self._next_line()
            self._line += 1
            row: Any
            if len(line) > _LONGEST:
                row = Malformed(f"it is longer than {_LONGEST:,} bytes")
            elif not line.strip():
                continue
            else:
                row = self._row(line)
            if row is not None:
                return Sample(row, f"line {self._line}")

    def _next_line(self) -> bytes:
        """The next line; one that is too long is cut, but stays too long."""
        begun = b""
        while True:
            piece, end, after = self._rest.partition(b"\n")
            self._rest = after
            if len(begun) <= _LONGEST:
                begun += piece[: _LONGEST + 1]
            if end:
                return begun
            self._rest = self._more()
            if not self._rest:
                if begun:
                    return begun
                raise End

    def _more(self) -> bytes:
        try:
            while not self._closed.is_set():
                if select.select([self._in], [], [], _LOOK)[0]:
                    return os.read(self._in, 65_536)
        except (OSError, ValueError) as error:
            raise SourceLost(f"cannot read {self._where} ({error})") from error
        raise End

    def _row(self, line: bytes) -> Any:
        try:
            text = line.decode("utf-8-sig" if self._line == 1 else "utf-8").strip("\r\n")
        except UnicodeDecodeError:
            return Malformed("it is not UTF-8")
        if text.lstrip()[:1] in ("{", "["):
            try:
                return json.loads(text)
            except (ValueError, RecursionError) as error:
                return Malformed(f"it is not JSON ({str(error)[:100]})")
        try:
            (cells,) = csv.reader([text], strict=True)
        except (csv.Error, ValueError) as error:
            return Malformed(f"it is not CSV ({error})")
        if not self._columns:
            if all(not _is_number(c) for c in cells):
                self._columns = tuple(c.strip() for c in cells)
                return None
            return [_value(c) for c in cells]
        if len(cells) != len(self._columns):
            return Malformed(f"it has {len(cells)} values, the header {len(self._columns)}")
        return {n: _value(c) for n, c in zip(self._columns, cells)}

    def close(self) -> None:
        self._closed.set()  # the descriptor is the process's last: it goes with it


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return not cell.strip()
    return True


def _value(cell: str) -> Union[float, str]:
    try:
        return float(cell)
    except ValueError:
        return cell


@dataclass(frozen=True)
class Rows(Source):
    """Rows for a model of tables: CSV with a header, or JSON objects or lists, one a line.

    A first line without any number is the header; without a header (and without `columns`) values are in the model's
    order.

    Attributes:
        path: File, FIFO or serial device; ``-`` for standard input.
        columns: Names of the columns, where the first line does not have them.
    """

    path: str = path_field("-")
    columns: tuple[str, ...] = ()
    live = False

    def open(self) -> Taker:
        if Path(self.path).name == "-":
            return _Taker(0, "standard input", self.columns)
        try:
            return _Taker(os.open(self.path, os.O_RDONLY | os.O_CLOEXEC), self.path, self.columns)
        except OSError as error:
            raise SourceLost(f"cannot open {self.path} ({error.strerror or error})") from error
