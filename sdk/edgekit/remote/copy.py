"""Files to a board: only what is not there, from where the last try stopped, and whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import RemoteError
from edgekit.remote.board.receive import ALTERED, BUSY, DISK_FULL, SHORT
from edgekit.remote.transport import Transport


@dataclass(frozen=True)
class Item:
    """One file to bring.

    Attributes:
        source: Where it lies here.
        destination: Absolute path on the board.
        sha256: Of its content.
        bytes: Its size.
    """

    source: Path
    destination: str
    sha256: str
    bytes: int


def present(transport: Transport, python: str, items: Sequence[Item]) -> list[int]:
    """For each item -1 where the board has it whole, else how many of its bytes it has.

    Raises:
        RemoteError: It cannot be asked.
    """
    question = json.dumps([[i.destination, i.sha256] for i in items]).encode()
    done = transport.python(python, "receive", "have", stdin=question)
    try:
        found = json.loads(done.out.strip().splitlines()[-1]) if done.code == 0 else None
    except (ValueError, IndexError):
        found = None
    if not isinstance(found, list) or len(found) != len(items):
        raise RemoteError(f"{transport.name} does not say which files it has ({done.complaint})")
    return [int(n) for n in found]


def bring(
    transport: Transport, python: str, items: Sequence[Item], said: Callable[[str], None] = lambda _: None
) -> int:
    """Bring the items that the board does not have.

    Args:
        transport: The way there.
        python: An interpreter on the board.
        items: The files.
        said: Called with a line about each file that is sent.

    Returns:
        Bytes that were sent.

    Raises:
        RemoteError: The disk is full, the connection broke, or a file did not arrive as it was sent.
    """
    sent = 0
    for item, offset in zip(items, present(transport, python, items), strict=True):
        if offset < 0:
            continue
        begin = offset if offset <= item.bytes else 0
        said(f"{item.source.name}, {(item.bytes - begin) / 1e6:,.1f} MB" + (" (goes on)" if begin else ""))
        sent += _send(transport, python, item, begin)
    return sent


def _send(transport: Transport, python: str, item: Item, offset: int) -> int:
    with item.source.open("rb") as source:
        source.seek(offset)
        done = transport.python(
            python, "receive", "take", item.destination, item.sha256, str(offset), str(item.bytes), stdin=source
        )
    if done.code == 0:
        return item.bytes - offset
    if done.code == ALTERED and offset:  # what lay there was not the beginning of this file
        return _send(transport, python, item, 0)
    raise RemoteError(
        *{
            DISK_FULL: (f"the disk of {transport.name} is full: {item.source.name} does not fit", "make room there"),
            BUSY: (f"another deploy is sending {item.source.name} to {transport.name}", "wait for it"),
            SHORT: (
                f"the connection to {transport.name} broke while {item.source.name} was sent",
                "run it again, and it goes on where it stopped",
            ),
            ALTERED: (f"{item.source.name} did not arrive at {transport.name} as it was sent", "try again"),
        }.get(done.code, (f"{item.source.name} could not be written at {transport.name}", done.complaint))
    )
