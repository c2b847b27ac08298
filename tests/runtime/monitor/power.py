"""Power cuts from a log of writes: what was synced stays, of what was not each write stays, is torn, or is lost."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SECTOR = 512


@dataclass(frozen=True)
class Write:
    """One line of the log (`writes.c`)."""

    what: str
    name: str
    offset: int
    data: bytes


def read_log(path: Path) -> list[Write]:
    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        end = data.index(b"\n", at)
        what, name, offset, length = data[at:end].decode().split()
        size = int(length)
        found.append(Write(what, name, int(offset), data[end + 1 : end + 1 + size]))
        at = end + 1 + size
    return found


def apply(content: bytearray, write: Write) -> None:
    if write.what == "T":
        del content[write.offset :]
        content.extend(bytes(write.offset - len(content)))
    elif write.what == "U":
        content.clear()
    else:
        content.extend(bytes(max(write.offset - len(content), 0)))
        content[write.offset : write.offset + len(write.data)] = write.data


def cuts(log: list[Write], count: int, seed: int, folder: Path) -> Iterator[tuple[int, set[str]]]:
    """Lay the files out in `folder` as a disk may hold them after a cut; gives the place in the log and the names.

    A write is torn at a sector's end. A file that was never synced may be missing altogether.
    """
    generator = random.Random(seed)
    places = sorted(generator.choices(range(1, len(log)), k=count))
    durable: dict[str, bytearray] = {}
    pending: dict[str, list[Write]] = {}
    done = 0
    for place in places:
        for write in log[done:place]:
            waiting = pending.setdefault(write.name, [])
            if write.name == ".":  # the folder was synced: what was unlinked stays so
                for name, lines in pending.items():
                    if any(w.what == "U" for w in lines):
                        durable.pop(name, None)
                        last = max(i for i, w in enumerate(lines) if w.what == "U")
                        del lines[: last + 1]
            elif write.what == "S":
                content = durable.setdefault(write.name, bytearray())
                for old in waiting:
                    apply(content, old)
                waiting.clear()
            else:
                waiting.append(write)
        done = max(done, place)
        names = set()
        for name, waiting in pending.items():
            if name == "." or (name not in durable and not waiting):
                continue
            content = bytearray(durable.get(name, b""))
            if name not in durable and generator.random() < 0.5:
                continue
            for write in waiting:
                fate = generator.random()
                if fate < 0.4:
                    apply(content, write)
                elif fate < 0.6 and write.what == "W" and len(write.data) > SECTOR:
                    keep = generator.randrange(0, len(write.data), SECTOR)
                    apply(content, Write("W", name, write.offset, write.data[:keep]))
            (folder / name).write_bytes(content)
            names.add(name)
        yield place, names
