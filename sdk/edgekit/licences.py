"""Licence files that travel in the bundle."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from edgekit_runtime.errors import UsageError

_MAX_BYTES = 2**20  # the longest licence texts in use are below 100 KB; a model given by mistake is above
_LONGEST_TITLE = 80


def read_licences(files: Sequence[str]) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Members of the bundle with their contents, and a note for each.

    Args:
        files: Paths of text files.

    Raises:
        UsageError: One is missing, empty, no text, or larger than a licence can be.
    """
    members: dict[str, bytes] = {}
    notes = []
    for file in files:
        try:
            content = Path(file).read_bytes()
            text = content.decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise UsageError(f"cannot use --licence {file} ({why})", "give a text file") from error
        lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
        if not lines or len(content) > _MAX_BYTES:
            raise UsageError(f"--licence {file} is {'empty' if not lines else 'too large'}", "give a licence's text")
        member = _free(f"licences/{_plain_name(Path(file).name)}", members)
        members[member] = content
        notes.append(f"licence {member}: {lines[0][:_LONGEST_TITLE]}")
    return members, tuple(notes)


def _plain_name(name: str) -> str:
    """A name that bundles allow."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", name).strip(".") or "LICENCE"


def _free(member: str, taken: dict[str, bytes]) -> str:
    """The name itself, or with a number where two files are called alike."""
    number, wanted = 2, member
    while member in taken:
        path = Path(wanted)
        member = f"{path.parent}/{path.stem}-{number}{path.suffix}"
        number += 1
    return member
