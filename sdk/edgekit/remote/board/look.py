"""Prints one JSON object about this board; arguments are the Pythons to look at."""

from __future__ import annotations

import glob
import json
import os
import platform
import shutil
import subprocess
import sys
from typing import Any

_EACH = """
import importlib.util as u, json, platform, struct, sys
from importlib.metadata import version
def of(name):
    try: return version(name)
    except Exception: return None
print(json.dumps({
    "version": "%d.%d" % sys.version_info[:2], "full": platform.python_version(),
    "implementation": sys.implementation.name, "bits": struct.calcsize("P") * 8,
    "free_threaded": not getattr(sys, "_is_gil_enabled", lambda: True)(),
    "executable": getattr(sys, "_base_executable", None) or sys.executable,
    "inside": sys.prefix != sys.base_prefix, "venv": u.find_spec("venv") is not None,
    "numpy": of("numpy"), "tensorrt": of("tensorrt"),
    "picamera2": u.find_spec("picamera2") is not None,
}))
"""


def first_line(path: str) -> str:
    """Text of a file up to its end, a line or a zero byte; empty where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as found:  # noqa: PTH123 - small and plain on purpose
            return found.read(4096).strip("\0 \n").split("\n")[0]
    except OSError:
        return ""


def look_at(python: str) -> dict[str, Any] | None:
    """What one interpreter says of itself, None where it does not run."""
    try:
        # isolated: the caller's PYTHONPATH and user site are not the board's system
        done = subprocess.run([python, "-I", "-c", _EACH], capture_output=True, text=True, timeout=60, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    if found.pop("inside"):  # somebody's environment: what it stands on is the system's
        return look_at(found["executable"]) if found["executable"] != python else None
    return found


def emulator() -> str:
    """Name of the user-mode emulator that runs us; it answers for /proc/self but not for /proc/thread-self."""
    try:
        name = os.path.basename(os.readlink("/proc/thread-self/exe"))  # noqa: PTH115, PTH119
    except OSError:
        return ""
    return name if name.startswith("qemu-") else ""


def memory() -> int:
    """Bytes of RAM."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def main() -> None:
    """Print it."""
    home = os.path.expanduser("~")  # noqa: PTH111
    try:
        kind, _, glibc = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):  # another C library
        kind, glibc = "", ""
    jetpack = ""
    if shutil.which("dpkg-query"):
        asked = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Version}", "nvidia-l4t-core"], capture_output=True, text=True, check=False
        )
        jetpack = asked.stdout.strip() if asked.returncode == 0 else ""
    pythons: dict[str, dict[str, Any]] = {}
    for python in sys.argv[1:]:
        found = look_at(python)
        if found is not None:
            pythons.setdefault(str(found["executable"]), found)
    print(
        json.dumps(
            {
                "home": home,
                "node": platform.node(),
                "machine": platform.machine(),
                "kernel": platform.release(),
                "glibc": glibc if kind == "glibc" else "",
                "model": first_line("/proc/device-tree/model"),
                "l4t": jetpack,
                "trtexec": shutil.which("trtexec") or next(iter(glob.glob("/usr/src/tensorrt/bin/trtexec")), ""),  # noqa: PTH207
                "disk_free": shutil.disk_usage(home).free,
                "memory": memory(),
                "emulator": emulator(),
                "pythons": list(pythons.values()),
            }
        )
    )


if __name__ == "__main__":
    main()
