"""Google's libedgetpu on this machine: where it lies, what is plugged in, and whether it survives a first try.

libedgetpu is built against one TensorFlow Lite; with another it does not refuse but kills the process. So a file is
first opened and run in a child process, and what worked is remembered by the library's hash, the interpreter's version,
the device and the file. What failed is tried again: a board may be plugged in, a library replaced.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from edgekit_runtime.cache import cache_folder, key_of, recall, remember
from edgekit_runtime.errors import BackendError, MissingRequirement

LIBRARY = "libedgetpu.so.1"
VARIABLE = "EDGEKIT_EDGETPU_LIBRARY"
DEVICE = "EDGEKIT_EDGETPU_DEVICE"
"""Which one where there are several, in libedgetpu's words: ``usb``, ``usb:1``, ``pci:0``."""
INSTALL = (
    f"install libedgetpu1-std or a build of it for your interpreter, or set {VARIABLE}, and "
    'pip install "edgekit-runtime[litert]"; for the CPU twin say --backend litert'
)
ROOT = Path("/")
_FOLDERS = ("usr/local/lib", "usr/lib", "lib", "usr/lib64")
_TRIPLES = ("aarch64-linux-gnu", "x86_64-linux-gnu", "arm-linux-gnueabihf")
_USB = {("1a6e", "089a"): "not yet started", ("18d1", "9302"): "running"}
_SECONDS = 60

# stages are printed so that a process that died is known to have died there
_CHILD = """
import importlib, sys
library, module, device = sys.argv[1:4]
interpreter = importlib.import_module(module)
delegate = interpreter.load_delegate(library, {"device": device} if device else {})
print("opened", flush=True)
held = interpreter.Interpreter(model_content=sys.stdin.buffer.read(), experimental_delegates=[delegate])
held.allocate_tensors()
print("allocated", flush=True)
held.invoke()
print("ran", flush=True)
"""
_VERSION = """
import ctypes, sys
tell = ctypes.CDLL(sys.argv[1]).edgetpu_version
tell.restype = ctypes.c_char_p
print(tell().decode())
"""
_DOING = {"": "while it looks for its device", "opened": "while it loads the model", "allocated": "at an inference"}


@dataclass(frozen=True)
class Interpreter:
    """What would load the library.

    Attributes:
        module: Import name of the module that has ``Interpreter`` and ``load_delegate``.
        name: With version, as ``ai-edge-litert 2.3.0``.
    """

    module: str
    name: str


def find_library() -> Optional[Path]:
    """libedgetpu: what ``$EDGEKIT_EDGETPU_LIBRARY`` names, else where Debian's package or a build puts it."""
    if named := os.environ.get(VARIABLE):
        return Path(named) if Path(named).is_file() else None
    folders = [Path(f) for f in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if f]
    folders += [ROOT / folder / triple for folder in _FOLDERS for triple in ("", *_TRIPLES)]
    return next((f / LIBRARY for f in folders if (f / LIBRARY).is_file()), None)


def find_devices() -> tuple[str, ...]:
    """Edge TPUs that the system sees, in words; looked up in ``/dev`` and ``/sys`` without opening any."""
    found = [f"PCIe, /dev/{node.name}" for node in sorted((ROOT / "dev").glob("apex_*"))]
    for device in sorted((ROOT / "sys/bus/usb/devices").glob("*")):
        try:
            ids = tuple((device / name).read_text().strip().lower() for name in ("idVendor", "idProduct"))
        except OSError:
            continue  # a hub's interface, which has none
        if state := _USB.get((ids[0], ids[1])):
            found.append(f"USB, {ids[0]}:{ids[1]} ({state})")
    return tuple(found)


def library_version(library: Path) -> Optional[str]:
    """What the library says of itself, asked in a child process; None where it does not say, or dies of it."""
    try:
        told = subprocess.run(
            [sys.executable, "-c", _VERSION, str(library)], capture_output=True, text=True, timeout=10, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    return told.stdout.strip() if told.returncode == 0 and told.stdout.strip() else None


def require_library() -> Path:
    """The library.

    Raises:
        MissingRequirement: There is none.
    """
    library = find_library()
    if library is None:
        named = os.environ.get(VARIABLE)
        what = f"{VARIABLE} names {named}, which is no file" if named else f"{LIBRARY} is not installed"
        raise MissingRequirement(
            f"the Edge TPU's library is missing ({what})",
            INSTALL,
        )
    return library


def require_device() -> None:
    """Do nothing where an Edge TPU is there.

    Raises:
        MissingRequirement: None is.
    """
    if not find_devices():
        raise MissingRequirement(
            "no Edge TPU is connected (no /dev/apex_*, no USB device 1a6e:089a or 18d1:9302)",
            "plug it into USB 3, or load the gasket driver for a PCIe one; for the CPU twin say --backend litert",
        )


def try_out(model: bytes, library: Path, interpreter: Interpreter) -> None:
    """Open and run a file in a child process, unless that has worked before with the same parts.

    Raises:
        BackendError: The library kills the process, does not answer, finds no device or does not know the file.
    """
    device = os.environ.get(DEVICE, "")
    digests = [hashlib.sha256(content).hexdigest() for content in (library.read_bytes(), model)]
    verdict = cache_folder() / "edgetpu" / f"{key_of(*digests, interpreter.name, device)}.json"
    if (recall(verdict) or {}).get("ran") is True:
        return
    said = f"{library} with {interpreter.name}"
    try:
        tried = subprocess.run(
            [sys.executable, "-c", _CHILD, str(library), interpreter.module, device],
            input=model, capture_output=True, timeout=_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise BackendError(
            f"{said} did not answer within {_SECONDS} s", "unplug the Edge TPU and plug it in again"
        ) from error
    if tried.returncode == 0:
        remember(verdict, {"ran": True, "library": str(library), "interpreter": interpreter.name})
        return
    stages = tried.stdout.decode(errors="replace").split()
    stage = stages[-1] if stages else ""
    if tried.returncode < 0:
        raise BackendError(
            f"{said} kills the process ({_signal(-tried.returncode)}) {_DOING.get(stage, '')}",
            "the library is built for another TensorFlow Lite: install the two of one version (community builds of "
            "libedgetpu name theirs)",
        )
    lines = tried.stderr.decode(errors="replace").strip().splitlines() or ["it says nothing"]
    if stage == "":
        raise BackendError(
            f"{library} could not be opened as a delegate ({' '.join(lines[-2:])[:200]})",
            "look whether another process holds the Edge TPU, and whether this user may use it (group plugdev or apex)",
        )
    raise BackendError(
        f"{said} fails {_DOING.get(stage, '')} ({lines[-1][:200]})",
        "the file asks for a newer Edge TPU runtime than this library, or the library is built for another "
        "TensorFlow Lite",
    )


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
