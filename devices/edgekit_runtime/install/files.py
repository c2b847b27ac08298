"""Files that are to be written, and templates that they are filled from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Union

_PLACE = re.compile(r"@([A-Z]+)@|@@")


@dataclass(frozen=True)
class Plan:
    """What `install` would do.

    Attributes:
        files: Path, below the folder that they go to, and content.
        commands: What makes a service of them, as typed.
        notes: What whoever runs them should know.
    """

    files: Mapping[str, Union[str, bytes]]
    commands: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def fill(name: str, **values: str) -> str:
    """A template with every ``@PLACE@`` filled and ``@@`` as ``@``; a line whose place gets nothing goes.

    Raises:
        KeyError: A place gets no value, or a value has no place: template and code do not fit.
    """
    text = resources.files("edgekit_runtime.install").joinpath("templates", name).read_text("utf-8")
    places = {m[1] for m in _PLACE.finditer(text) if m[1]}
    if places != set(values):
        raise KeyError(f"{name}: {sorted(places ^ set(values))}")
    lines = []
    for line in text.split("\n"):
        filled = _PLACE.sub(lambda m: values[m[1]] if m[1] else "@", line)
        if filled.strip() or not line:
            lines.append(filled)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))
