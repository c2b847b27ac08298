"""What a bundle needs on a board, by the table in ``wheels.toml``: which Python, which pins, what the system gives."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from edgekit.remote.facts import PYTHONS, Board, Python
from edgekit_runtime.errors import MissingRequirement, UsageError
from edgekit_runtime.manifest import Manifest

_OLDEST_MINOR = {"x86_64": 5, "aarch64": 17, "armv7l": 17}
"""Oldest glibc 2.x that manylinux tags of the machine begin at (PEP 513, 599, 600)."""
_ALIASES = {(17, "2014"), (12, "2010"), (5, "1")}


@dataclass(frozen=True)
class Needs:
    """What goes onto one board for one bundle.

    Attributes:
        python: The board's interpreter that the virtual environment is made from.
        machine: Processor family in wheels' tags.
        tags: Platform tags that the board takes, best first.
        pins: Exact requirements, without what they depend on: the table has that already.
        pip: The requirement for pip itself, which the board need not have.
        interpreters: Back ends that it will have.
        system_site: Whether the environment sees the system's packages.
        notes: What the user should know, one sentence each.
    """

    python: Python
    machine: str
    tags: tuple[str, ...]
    pins: tuple[str, ...]
    pip: str
    interpreters: tuple[str, ...]
    system_site: bool
    notes: tuple[str, ...]


@cache
def table() -> Mapping[str, Any]:
    """The content of ``wheels.toml``."""
    return tomllib.loads(files("edgekit.remote").joinpath("wheels.toml").read_text("utf-8"))


def wheel_machine(board: Board, python: Python) -> str:
    """Processor family as wheels name it; a 64-bit kernel may carry a 32-bit system."""
    if board.machine in ("aarch64", "armv8l", "armv7l"):
        return "aarch64" if python.bits == 64 else "armv7l"
    return {"AMD64": "x86_64"}.get(board.machine, board.machine)


def platform_tags(machine: str, glibc: str) -> tuple[str, ...]:
    """Platform tags that a system with this C library takes, newest first.

    Args:
        machine: As `wheel_machine` says it.
        glibc: As ``2.36``.
    """
    minor = int(glibc.split(".")[1])
    tags: list[str] = []
    for m in range(minor, _OLDEST_MINOR[machine] - 1, -1):
        tags.append(f"manylinux_2_{m}_{machine}")
        tags += [f"manylinux{name}_{machine}" for at, name in _ALIASES if at == m]
    return (*tags, f"linux_{machine}")


def _row(name: str, machine: str, python: str, glibc: str) -> tuple[Mapping[str, Any] | None, str]:
    """The table's row, or None and why."""
    rows = [r for r in table().get(name, ()) if machine in r["machines"]]
    if not rows:
        return None, f"{name} has no wheels for {machine}"
    fitting = [r for r in rows if python in r["python"]]
    if not fitting:
        have = sorted({p for r in rows for p in r["python"]}, key=PYTHONS.index)
        return None, f"{name} has wheels for Python {', '.join(have)} on {machine}, not for {python}"
    row: Mapping[str, Any] = fitting[0]
    if _number(glibc) < _number(row["glibc"]):
        return None, f"{name} needs glibc {row['glibc']}, the board has {glibc}"
    return row, ""


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _for_python(board: Board, manifest: Manifest, python: Python, backend: str | None) -> Needs:
    """The needs with this one interpreter.

    Raises:
        MissingRequirement: No variant can run in it; says why.
    """
    machine, glibc = wheel_machine(board, python), board.glibc
    chosen: dict[str, Mapping[str, Any]] = {}
    why: list[str] = []
    for variant in manifest.variants:
        for name in (b for b in variant.backends if backend in (None, b)):
            row, reason = _row(name, machine, python.version, glibc)
            if variant.builds and machine not in variant.builds:
                row, reason = None, f"{variant.name} has builds for {', '.join(sorted(variant.builds))} alone"
            if row is not None:
                chosen[name] = row
                break
            why.append(reason)
    if not chosen:
        raise MissingRequirement("; ".join(dict.fromkeys(why)))
    notes: list[str] = []
    pins = [pin for row in chosen.values() for pin in row["pins"]]
    asked = next((row["numpy"] for row in chosen.values() if "numpy" in row), None)
    system_site = bool(python.from_system)
    row, reason = _row("numpy", machine, python.version, glibc)
    if row is None:
        raise MissingRequirement(reason)
    here = _number(python.numpy) if python.numpy else ()
    fits = here >= (1, 22) and not (asked and here >= (2,))
    if fits and (system_site or "system" in row):
        system_site = True
        notes.append(f"numpy {python.numpy} is the system's")
    else:
        pins += [asked] if asked and "system" not in row else row["pins"]
        if "system" in row:
            notes.append(f"the board has no numpy that fits; {row['system']} of its system would do")
    if system_site and python.from_system:
        notes.append(f"the environment sees the system's packages, for {' and '.join(python.from_system)}")
    if manifest.specification.kind == "image":
        row, reason = _row("camera", machine, python.version, glibc)
        pins += row["pins"] if row else []
        if row is None:
            system_site = True
            notes.append(f"{reason}: pictures are decoded by the system's python3-pil or python3-opencv, if there")
    return Needs(
        python=python,
        machine=machine,
        tags=platform_tags(machine, glibc),
        pins=tuple(dict.fromkeys(pins)),
        pip=table()["pip"],
        interpreters=tuple(chosen),
        system_site=system_site,
        notes=tuple(notes),
    )


def needs(board: Board, manifest: Manifest, *, python: str | None = None, backend: str | None = None) -> Needs:
    """What a bundle needs on a board.

    Args:
        board: What the board said of itself.
        manifest: Of the bundle.
        python: The only Python that will do, as ``3.11``; else the one with what the system alone has, then the newest.
        backend: The only back end that will do.

    Raises:
        UsageError: A Python is asked for that edgekit-runtime does not run on, or a back end that opens no variant.
        MissingRequirement: The board cannot run any variant; says why for each Python it has.
    """
    if python is not None and python not in PYTHONS:
        raise UsageError(f"edgekit-runtime does not run on Python {python!r:.20}", f"one of {', '.join(PYTHONS)}")
    if backend is not None and not any(backend in v.backends for v in manifest.variants):
        every = dict.fromkeys(b for v in manifest.variants for b in v.backends)
        raise UsageError(f"no variant runs on back end {backend!r:.40}", f"they run on {', '.join(every)}")
    if not board.glibc:
        raise MissingRequirement(
            "the board has another C library than GNU's, for which there are no wheels", "use Debian or a kin of it"
        )
    candidates: Sequence[Python] = [p for p in board.pythons if p.usable and python in (None, p.version)]
    if not candidates:
        have = ", ".join(f"{p.full}{'' if p.venv else ' without venv'}" for p in board.pythons) or "none"
        raise MissingRequirement(
            f"the board has no Python {python or f'from {PYTHONS[0]} to {PYTHONS[-1]}'} that can hold edgekit-runtime"
            f" (it has {have})",
            "on the board: sudo apt install python3 python3-venv",
        )
    candidates = sorted(candidates, key=lambda p: (bool(p.from_system), PYTHONS.index(p.version)), reverse=True)
    why: dict[str, str] = {}
    for candidate in candidates:
        try:
            if wheel_machine(board, candidate) not in _OLDEST_MINOR:
                raise MissingRequirement(f"there are no wheels for {board.machine}")
            return _for_python(board, manifest, candidate, backend)
        except MissingRequirement as error:
            why.setdefault(candidate.version, str(error))
    reasons = "; ".join(f"with Python {v}: {reason}" for v, reason in why.items())
    raise MissingRequirement(
        f"bundle {manifest.name!r} cannot run there ({reasons})",
        "export for a target that this board is, see edgekit targets",
    )
