"""Whether a user-mode emulator runs this process; its times say nothing about any board."""

from __future__ import annotations

from pathlib import Path


def emulator() -> str:
    """Name of the emulator, or empty.

    qemu-user answers for /proc/self/exe with the emulated program, but leaves /proc/thread-self to the kernel, which
    names qemu itself (seen with QEMU 7.2 and 10.0).
    """
    try:
        name = Path("/proc/thread-self/exe").readlink().name
    except OSError:
        return ""
    return name if name.startswith("qemu-") else ""
