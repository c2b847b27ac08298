"""Memory that an interpreter takes for a model, measured in a process of its own.

Run as a program it opens a model file, runs it and prints one JSON object: resident bytes before the interpreter was
imported (``bare``), after (``base``), and the peak while the model was loaded and run (``peak``). Linux tells a peak
that can be set back; elsewhere nothing is measured.

Not the arena: LiteRT's Python interface (2.3, `dir(Interpreter)`) tells tensors' shapes, not where its planner placed
them, and their sum is no arena, since tensors share memory; what XNNPACK takes over lies in a workspace of its own.
A peak holds all of these, whatever the interpreter calls them.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HOW = "peak of a process of its own while it loads and runs the model, and what importing the interpreter took"
_RUNS = 3
_SECONDS = 300


@dataclass(frozen=True)
class Memory:
    """Memory of an interpreter for one model, in bytes.

    Attributes:
        working: Peak while the model was loaded and run, above what was there before: model, weights, arena.
        base: What importing the interpreter took, the same for every model.
        process: Peak of the whole process, Python and NumPy included.
    """

    working: int
    base: int
    process: int

    @property
    def kb(self) -> float:
        """Working set and base, in KB of 1,000 bytes: what a contract is about."""
        return (self.working + self.base) / 1000


def measure_memory(path: Path, backend: str, shapes: Mapping[str, Sequence[int]]) -> Memory | None:
    """Measure; None where the system does not tell, or the child failed.

    Args:
        path: The model file.
        backend: Name of the back end that runs it.
        shapes: Of the file's inputs, by tensor name, where the file leaves extents open.
    """
    command = [sys.executable, "-m", "edgekit.contract.memory", str(path), backend, json.dumps(dict(shapes))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        found = json.loads(done.stdout.strip().splitlines()[-1]) if done.returncode == 0 else None
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired):
        return None
    if found is None:
        return None
    return Memory(max(0, found["peak"] - found["base"]), max(0, found["base"] - found["bare"]), found["peak"])


def _status(field: str) -> int:
    """Bytes of a line of ``/proc/self/status``."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"the system does not tell {field}")


def main(path: str, backend_name: str, shapes: str) -> None:
    """The child."""
    import numpy as np

    from edgekit_runtime.backends import backend

    chosen, known = backend(backend_name), json.loads(shapes)
    bare = _status("VmRSS")
    importlib.import_module(_MODULES.get(chosen.package, chosen.package))
    base = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to what is resident now
    session = chosen.open(Path(path).read_bytes())
    inputs = []
    for tensor in session.inputs:
        shape = known.get(tensor.name) or [1 if extent < 1 else extent for extent in tensor.shape]
        inputs.append(np.zeros(shape, object if tensor.dtype == "string" else tensor.dtype))
        if tensor.dtype == "string":
            inputs[-1][...] = ""
    for _ in range(_RUNS):
        session.run(inputs)
    print(json.dumps({"bare": bare, "base": base, "peak": _status("VmHWM")}))


_MODULES = {"ai_edge_litert": "ai_edge_litert.interpreter", "tflite_runtime": "tflite_runtime.interpreter"}
"""Where the package alone does not bring the interpreter in."""

if __name__ == "__main__":
    main(*sys.argv[1:4])
