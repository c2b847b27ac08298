"""Takes files in.

``have`` says of the list on stdin what is there; ``take PATH SHA256 OFFSET SIZE`` appends stdin.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import sys
from pathlib import Path

DISK_FULL, ALTERED, BUSY, SHORT = 28, 29, 30, 31
"""Exit codes that the workstation puts into words."""


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    found = hashlib.sha256()
    with path.open("rb") as source:
        for block in iter(lambda: source.read(1 << 20), b""):
            found.update(block)
    return found.hexdigest()


def part_of(path: Path, sha256: str) -> Path:
    """Where a file lies until it is whole; another content has another part."""
    return path.with_name(f".{path.name}.{sha256[:16]}.part")


def have() -> None:
    """For each [path, sha256] of stdin: -1 where it is whole, else how many bytes of it are there."""
    answers = []
    for name, sha256 in json.load(sys.stdin):
        path = Path(name)
        part = part_of(path, sha256)
        if path.is_file() and digest(path) == sha256:
            answers.append(-1)
        else:
            answers.append(part.stat().st_size if part.is_file() else 0)
    print(json.dumps(answers))


def take(path: Path, sha256: str, offset: int, size: int) -> int:
    """Append stdin to the part from `offset` on; it gets its name once its digest is right.

    A connection that breaks looks like the end of stdin: what came until then is kept for the next try.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(path, sha256)
    with part.open("ab") as out:
        try:
            fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return BUSY
        out.truncate(offset)
        for block in iter(lambda: sys.stdin.buffer.read(1 << 20), b""):
            out.write(block)
        out.flush()
        os.fsync(out.fileno())
        if part.stat().st_size < size:
            return SHORT
        if digest(part) != sha256:
            part.unlink()
            return ALTERED
        part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    return 0


def main() -> int:
    """Do what the first argument says."""
    try:
        if sys.argv[1] == "have":
            have()
            return 0
        return take(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return DISK_FULL
        print(f"{error.strerror}: {error.filename}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
