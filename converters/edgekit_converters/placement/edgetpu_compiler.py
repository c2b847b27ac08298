"""The Edge TPU compiler itself, where it is on PATH: called, its log read, its answer held against the prediction."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit_converters.errors import ConversionError
from edgekit_converters.placement.edgetpu import predict
from edgekit_converters.placement.edgetpu_compiled import compiled_placement
from edgekit_converters.placement.placement import Placement

PROGRAM = "edgetpu_compiler"
UNKNOWN = "of unknown version"
_TIMEOUT_S = 600
_MAPPED = "Mapped to Edge TPU"
_ROW = re.compile(r"^(\S+)\s+(\d+)\s+(\S.*)$")
_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_BYTES = {
    "cached": re.compile(r"On-chip memory used for caching model parameters: ([\d.]+)(B|KiB|MiB|GiB)"),
    "streamed": re.compile(r"Off-chip memory used for streaming uncached model parameters: ([\d.]+)(B|KiB|MiB|GiB)"),
}


@dataclass(frozen=True)
class CompilerLog:
    """What the compiler printed.

    Attributes:
        version: Its version, empty where it did not say.
        counts: How many operators of a kind have which status: ``(kind, status)`` to count.
        bytes: ``cached`` and ``streamed`` parameters, as far as it said, rounded as it prints them.
    """

    version: str
    counts: dict[tuple[str, str], int]
    bytes: dict[str, int]

    @property
    def mapped(self) -> dict[str, int]:
        """How many operators of each kind are on the Edge TPU."""
        return {kind: n for (kind, status), n in self.counts.items() if status == _MAPPED}


def command(path: str) -> str:
    """The line that compiles a file, for people."""
    return f"{PROGRAM} -s {path}"


def parse_log(text: str) -> CompilerLog:
    """Read what ``edgetpu_compiler -s`` prints."""
    version = re.search(r"Edge TPU Compiler version (\S+)", text)
    counts: dict[tuple[str, str], int] = {}
    table = False
    for line in text.splitlines():
        if line.startswith("Operator ") and "Status" in line:
            table = True
        elif table and (row := _ROW.match(line.strip())):
            key = (row[1], row[3].strip())
            counts[key] = counts.get(key, 0) + int(row[2])
    found = {name: pattern.search(text) for name, pattern in _BYTES.items()}
    sizes = {name: round(float(hit[1]) * _UNITS[hit[2]]) for name, hit in found.items() if hit}
    return CompilerLog(version[1] if version else "", counts, sizes)


def available() -> bool:
    """Whether the compiler is on PATH."""
    return shutil.which(PROGRAM) is not None


def compile_and_compare(path: Path, keep: Path | None = None) -> Placement:
    """Compile a file; what comes out, with a note on where the prediction was off.

    Args:
        path: An int8 TFLite file.
        keep: Where to put the compiled file, None to throw it away.

    Raises:
        ConversionError: The compiler refused the file, did not end in time, or wrote nothing.
        SourceError: The file, or what it wrote, cannot be read.
    """
    predicted = predict(path)
    with tempfile.TemporaryDirectory(prefix="edgekit-edgetpu-") as folder:
        try:
            ran = subprocess.run(
                [PROGRAM, "-s", "-o", folder, str(path.absolute())],
                capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConversionError(f"{PROGRAM} did not finish on {path.name} ({type(error).__name__})") from error
        log, made = parse_log(ran.stdout), Path(folder) / f"{path.stem}_edgetpu.tflite"
        if ran.returncode or not made.is_file():
            lines = [line for line in (ran.stderr + ran.stdout).splitlines() if line.strip()]
            raise ConversionError(f"{PROGRAM} refuses {path.name} ({lines[-1][:200] if lines else 'it says nothing'})")
        found = compiled_placement(made, path)
        if keep is not None:
            shutil.copyfile(made, keep)
    notes = [*found.notes, f"Compiled with Edge TPU Compiler {log.version or UNKNOWN}."]
    notes += _differences(predicted, found, log)
    return replace(found, notes=tuple(notes))


def _differences(predicted: Placement, found: Placement, log: CompilerLog) -> list[str]:
    """Where prediction, compiled file and log do not say the same, one sentence each."""
    said = []
    off = [a for a, b in zip(predicted.ops, found.ops, strict=True) if a.unit != b.unit]
    if off:
        first = off[0]
        said.append(f"The prediction was wrong for {len(off)} of {len(found.ops)} operators, first {first.op} "
                    f"(number {first.index}, predicted on the {first.unit}).")  # fmt: skip
    else:
        said.append("The prediction agrees on every operator.")
    if log.counts and sum(log.mapped.values()) != found.accelerated:
        said.append(f"Its log counts {sum(log.mapped.values())} mapped operators, the file {found.accelerated}.")
    return said
