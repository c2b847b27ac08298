"""What a board is: asked once, then plain data."""

from __future__ import annotations

import json
from dataclasses import dataclass

from edgekit.errors import RemoteError
from edgekit.remote.transport import Transport, printable
from edgekit_runtime.errors import MissingRequirement
from edgekit_runtime.plain import PlainDataError, decode

PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13")
"""What edgekit-runtime runs on, oldest first."""

_SECONDS = 300
_FIND = (
    "for p in python3 " + " ".join(f"python{v}" for v in reversed(PYTHONS)) + "; do command -v $p; done; "
    "for v in " + " ".join(PYTHONS) + '; do ls "$HOME"/.pyenv/versions/$v.*/bin/python3 2>/dev/null; done; true'
)


@dataclass(frozen=True)
class Python:
    """One interpreter of a board.

    Attributes:
        version: As ``3.11``.
        full: As ``3.11.2``.
        implementation: ``cpython`` or another.
        bits: 32 or 64: a 64-bit kernel may carry a 32-bit system.
        free_threaded: Whether it is the build without the global lock, for which wheels are others.
        executable: Its path there.
        venv: Whether it can make virtual environments.
        numpy: Version of the system's numpy, None where there is none.
        tensorrt: Version of the system's TensorRT.
        picamera2: Whether the system has picamera2.
    """

    version: str
    full: str
    implementation: str
    bits: int
    free_threaded: bool
    executable: str
    venv: bool
    numpy: str | None
    tensorrt: str | None
    picamera2: bool

    @property
    def usable(self) -> bool:
        """Whether edgekit-runtime can live in it."""
        return self.version in PYTHONS and self.implementation == "cpython" and self.venv and not self.free_threaded

    @property
    def from_system(self) -> tuple[str, ...]:
        """What only the system's own packages can give."""
        return tuple(n for n, there in (("tensorrt", self.tensorrt), ("picamera2", self.picamera2)) if there)


@dataclass(frozen=True)
class Board:
    """What a board says of itself.

    Attributes:
        home: Home of the user who logged in.
        node: Its own name for itself.
        machine: Processor family of the kernel.
        kernel: Release of the kernel.
        glibc: Version of the GNU C library, empty where there is another.
        model: Device tree's name of the board, empty on a PC.
        l4t: Version of NVIDIA's Linux for Tegra, which is what JetPack is told by; empty elsewhere.
        trtexec: Path of TensorRT's command-line tool, or empty.
        disk_free: Bytes that the user can still write at home.
        memory: Bytes of RAM.
        emulator: User-mode emulator that runs it, or empty.
        pythons: Interpreters found.
    """

    home: str
    node: str
    machine: str
    kernel: str
    glibc: str
    model: str
    l4t: str
    trtexec: str
    disk_free: int
    memory: int
    emulator: str
    pythons: tuple[Python, ...]

    @property
    def folder(self) -> str:
        """Where everything of ours lies on it."""
        return f"{self.home}/.edgekit"

    @property
    def words(self) -> str:
        """One line about it."""
        parts = [self.model or self.node, self.machine]
        parts += [f"glibc {self.glibc}" if self.glibc else "not the GNU C library"]
        parts += [f"L4T {self.l4t}"] if self.l4t else []
        parts += [f"Python {', '.join(dict.fromkeys(p.full for p in self.pythons))}" if self.pythons else "no Python"]
        parts += [f"{self.memory / 2**30:.1f} GiB RAM, {self.disk_free / 2**30:.1f} GiB of disk free"]
        parts += [f"emulated by {self.emulator}"] if self.emulator else []
        return printable(" · ".join(parts))


def look(transport: Transport) -> Board:
    """Ask a board what it is.

    Raises:
        RemoteError: It cannot be reached, or answers nonsense.
        MissingRequirement: It has no Python.
    """
    found = transport.run(["sh", "-c", _FIND], timeout=_SECONDS)
    pythons = [line for line in found.out.splitlines() if line.startswith("/")]
    answer = None
    for python in pythons:  # a shim may be on PATH without anything behind it
        answer = transport.python(python, "look", *pythons, timeout=_SECONDS)
        if answer.code == 0:
            break
    if answer is None or answer.code != 0:
        why = f" ({answer.complaint})" if answer else ""
        raise MissingRequirement(
            f"{transport.name} has no Python 3 that runs{why}", "on the board: sudo apt install python3"
        )
    try:
        # login scripts may have printed before
        return decode(Board, json.loads(answer.out.strip().splitlines()[-1]), "board")
    except (ValueError, IndexError, PlainDataError) as error:
        raise RemoteError(f"{transport.name} answers nonsense when asked what it is ({error})") from error
