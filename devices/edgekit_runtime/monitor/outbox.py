"""Messages that wait for a server: kept over crashes and power cuts, in a file of bounded size."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from edgekit_runtime.errors import UsageError

_LOG = logging.getLogger("edgekit_runtime")

PRIORITIES = ("sample", "sketch", "alarm", "state")
"""Kinds of message; the first goes first where room is short."""

MAX_BODY = 256 * 1024

_SCHEMA = """
CREATE TABLE IF NOT EXISTS store (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS message (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    boot TEXT NOT NULL,
    priority INTEGER NOT NULL,
    made REAL NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS by_priority ON message (priority, sequence);
CREATE TABLE IF NOT EXISTS dropped (priority INTEGER PRIMARY KEY, count INTEGER NOT NULL);
"""


@dataclass(frozen=True)
class Message:
    """One message as it is sent.

    Attributes:
        device: Who sends.
        boot: Boot identity and file identity: within one of them, `sequence` only grows and is never used twice.
        sequence: Number of the message; a missing one was dropped by the device for lack of room.
        priority: One of `PRIORITIES`.
        made: When, in seconds since 1970 by the device's clock.
        body: What it says.
    """

    device: str
    boot: str
    sequence: int
    priority: str
    made: float
    body: bytes


def boot_id(path: Path = Path("/proc/sys/kernel/random/boot_id")) -> str:
    """The kernel's name for this boot; a random one where it has none."""
    try:
        return path.read_text("ascii").strip()
    except (OSError, ValueError):
        return os.urandom(16).hex()


class Outbox:
    """A ring of messages in an SQLite file (WAL, ``synchronous=FULL``). Safe to use from several threads.

    What `put` returned a sequence for is on the disk. Nothing here raises for a full disk, a broken or a locked file:
    the caller's work goes on, `put` returns nothing, and `problem` says in one sentence what is wrong. A file that is
    not a database any more is set aside as ``NAME.corrupt-N`` and a new one is begun.

    Attributes:
        path: The file.
        problem: Why messages cannot be kept, or that a broken file was set aside; empty while all is well.
    """

    def __init__(
        self,
        path: Path,
        device: str,
        *,
        boot: str = "",
        capacity: int = 10_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open or make the file.

        Args:
            path: The file; its folder is made.
            device: Who sends.
            boot: Identity of this boot; the kernel's by default.
            capacity: Messages kept.
            clock: Seconds since 1970.

        Raises:
            UsageError: `capacity` is less than 1.
        """
        if capacity < 1:
            raise UsageError(f"an outbox must hold 1 or more messages, not {capacity}")
        self.path = path
        self.problem = ""
        self._device, self._boot, self._capacity, self._clock = device, boot or boot_id(), capacity, clock
        self._lock = threading.RLock()
        self._connection: Optional[sqlite3.Connection] = None
        self._store = ""
        with self._lock, self._guarded("opened"):
            self._open()

    def put(self, messages: Sequence[tuple[str, bytes]]) -> list[int]:
        """Keep messages in one commit, and drop the least important and oldest where there are too many.

        Args:
            messages: ``(priority, body)`` of each.

        Returns:
            A sequence for each message, all on the disk; empty where they could not be kept. In a full ring a new
            message can be the least important one: it has a sequence, and is already dropped.

        Raises:
            UsageError: A priority does not exist, or a body is over `MAX_BODY`.
        """
        for priority, body in messages:
            if priority not in PRIORITIES:
                raise UsageError(f"there is no priority {priority!r:.40}", f"use {', '.join(PRIORITIES)}")
            if len(body) > MAX_BODY:
                raise UsageError(f"a message of {len(body)} bytes is over the limit of {MAX_BODY}")
        with self._lock, self._guarded("written"):
            connection = self._open()
            boot, now = f"{self._boot}.{self._store}", self._clock()
            made = []
            with _transaction(connection):
                for priority, body in messages:
                    done = connection.execute(
                        "INSERT INTO message (boot, priority, made, body) VALUES (?, ?, ?, ?)",
                        (boot, PRIORITIES.index(priority), now, body),
                    )
                    made.append(int(done.lastrowid or 0))
                self._shrink(connection)
            return made
        return []

    def peek(self, limit: int = 100) -> list[Message]:
        """The oldest messages that were not acknowledged, in order; empty where the file cannot be read."""
        with self._lock, self._guarded("read"):
            rows = self._open().execute("SELECT * FROM message ORDER BY sequence LIMIT ?", (limit,)).fetchall()
            return [Message(self._device, r[1], r[0], PRIORITIES[r[2]], r[3], bytes(r[4])) for r in rows]
        return []

    def acknowledge(self, boot: str, sequence: int) -> bool:
        """Forget every message up to `sequence`, which the server has; False where the file cannot be written.

        Args:
            boot: `Message.boot` that the sequence belongs to; one of a file that was set aside since forgets nothing.
            sequence: The last message that the server has.
        """
        with self._lock, self._guarded("written"):
            connection = self._open()
            if boot.rpartition(".")[2] == self._store:
                with _transaction(connection):
                    connection.execute("DELETE FROM message WHERE sequence <= ?", (sequence,))
            return True
        return False

    def waiting(self) -> dict[str, int]:
        """Messages that were not acknowledged, by priority."""
        return self._counts("SELECT priority, count(*) FROM message GROUP BY priority")

    def dropped(self) -> dict[str, int]:
        """Messages that were dropped since the file was made, by priority."""
        return self._counts("SELECT priority, count FROM dropped")

    def close(self) -> None:
        """Let go of the file; the next call opens it again."""
        with self._lock:
            if self._connection is not None:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.close()
            self._connection = None

    def _counts(self, query: str) -> dict[str, int]:
        counts = dict.fromkeys(PRIORITIES, 0)
        with self._lock, self._guarded("read"):
            counts.update({PRIORITIES[p]: n for p, n in self._open().execute(query)})
        return counts

    def _shrink(self, connection: sqlite3.Connection) -> None:
        (count,) = connection.execute("SELECT count(*) FROM message").fetchone()
        excess = count - self._capacity
        if excess <= 0:
            return
        least = "SELECT sequence FROM message ORDER BY priority, sequence LIMIT ?"
        lost = connection.execute(
            f"SELECT priority, count(*) FROM message WHERE sequence IN ({least}) GROUP BY priority",  # noqa: S608
            (excess,),
        ).fetchall()
        connection.execute(f"DELETE FROM message WHERE sequence IN ({least})", (excess,))  # noqa: S608
        connection.executemany(
            "INSERT INTO dropped VALUES (?, ?) ON CONFLICT (priority) DO UPDATE SET count = count + excluded.count",
            lost,
        )

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(str(self.path), timeout=5, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA journal_mode=WAL")
            with _transaction(connection):
                for statement in _SCHEMA.split(";\n"):
                    connection.execute(statement)
                connection.execute("INSERT OR IGNORE INTO store VALUES ('id', ?)", (os.urandom(4).hex(),))
            (self._store,) = connection.execute("SELECT value FROM store WHERE name = 'id'").fetchone()
            if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("its check failed")
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    @contextlib.contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        """Turns every failure of the file into `problem`; a file that is broken is set aside."""
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:  # full, locked, read-only, no such folder
            self.close()
            self._say(f"the outbox {self.path} cannot be {what} ({error}); free space or check the disk")
        except (sqlite3.DatabaseError, IndexError, TypeError) as error:  # torn pages, or another program's file
            self.close()
            self._set_aside(error)
        else:
            if what == "written":
                self.problem = ""

    def _set_aside(self, error: Exception) -> None:
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.corrupt-{number}")).exists():
            number += 1
        try:
            self.path.replace(aside)
            for suffix in ("-wal", "-shm"):  # of the old file: a new one must not read them
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{self.path}{suffix}").replace(f"{aside}{suffix}")
            self._open()
        except (OSError, sqlite3.Error) as second:
            self.close()
            self._say(f"the outbox {self.path} is broken ({error}) and cannot be set aside ({second})")
        else:
            self._say(f"the outbox {self.path} was broken ({error}); it is now {aside.name}, and a new one was begun")

    def _say(self, sentence: str) -> None:
        if sentence != self.problem:
            _LOG.warning("%s", sentence)
        self.problem = sentence


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
