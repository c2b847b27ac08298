"""Instructions of a model's C code on an emulated Cortex-M: exact counts, and no word about time.

qemu runs one instruction in one nanosecond of emulated time (``-icount shift=0``), and a timer of the board tells that
time in steps of 40 ns; many runs over, the step does not matter. Flash and pipelines of a real chip cost more.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit_converters.errors import ConversionError, MissingRequirement, UsageError
from edgekit_converters.plaincode.compiler import compile_program

BOARDS = {"cortex-m0": "mps2-an385", "cortex-m3": "mps2-an385", "cortex-m4": "mps2-an386", "cortex-m7": "mps2-an500"}
"""Processor to qemu's board; a Cortex-M3 runs all that a Cortex-M0 knows."""
_TICK = 40  # instructions of one step of the 25 MHz timer
_REPEATS = 50
_SECONDS = 120
_QUIET = ("-nographic", "-monitor", "none", "-serial", "none", "-semihosting-config", "enable=on,target=native")
_HERE = Path(__file__).parent / "cortex"


@dataclass(frozen=True)
class Call:
    """How a model's function is called.

    Attributes:
        prefix: Of its files and names.
        method: Its method.
        width: Numbers it gives.
        returns: ``double`` or ``int`` where it returns its answer, empty where it writes it.
        row: C type of the row's numbers: ``float`` or ``double``.
    """

    prefix: str
    method: str
    width: int
    returns: str
    row: str


@dataclass(frozen=True)
class Count:
    """What an emulated processor did.

    Attributes:
        instructions: Of one prediction, the mean over the rows.
        answers: (rows, width) what it answered.
        processor: Which one.
        emulator: What emulated it.
    """

    instructions: float
    answers: np.ndarray
    processor: str
    emulator: str


def count_instructions(source: Path, call: Call, rows: np.ndarray, processor: str, optimize: str = "-O2") -> Count:
    """Run a model on an emulated processor.

    Args:
        source: Its C file, with the header beside it; files are written there.
        call: How it is called.
        rows: (rows, features) to predict.
        processor: A key of `BOARDS`.
        optimize: Of the compiler.

    Raises:
        UsageError: There is no board with that processor.
        MissingRequirement: The compiler or the emulator is not installed.
        ConversionError: The code does not compile, or the emulated program fails.
    """
    if processor not in BOARDS:
        raise UsageError(f"qemu has no board here for {processor}", f"it counts on {', '.join(BOARDS)}")
    emulator = "qemu-system-arm"
    if shutil.which(emulator) is None:
        raise MissingRequirement(f"there is no {emulator} to count instructions with", f"apt install {emulator}")
    harness = source.parent / "harness.c"
    shutil.copy(_HERE / "harness.c", harness)
    (source.parent / "case.h").write_text(_case(call, rows), "utf-8")
    options = ("-nostartfiles", "-Wl,--gc-sections", "-T", str(_HERE / "link.ld"))
    program = compile_program((source, harness), source.parent / "cortex", processor, optimize, options)
    command = [emulator, "-M", BOARDS[processor], *_QUIET, "-icount", "shift=0", "-kernel", str(program)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise ConversionError(f"the program did not end on the emulated {processor}", "try fewer rows") from None
    lines = (done.stdout + done.stderr).split()
    wanted = 2 + 2 * len(rows) * call.width
    if done.returncode or len(lines) != wanted + 1 or lines[-1] != "end":
        raise ConversionError(f"the program failed on the emulated {processor}", " ".join(lines[-5:])[:200])
    words = np.array([int(line, 16) for line in lines[:wanted]], np.uint32)
    pairs = words[2:].reshape(-1, 2)
    answers = pairs[:, 0].view(np.int32) if call.returns == "int" else np.ascontiguousarray(pairs).view(np.float64)
    mean = (int(words[0]) - int(words[1])) * _TICK / (_REPEATS * len(rows))
    return Count(mean, answers.reshape(len(rows), call.width), processor, f"qemu {BOARDS[processor]}")


def _case(call: Call, rows: np.ndarray) -> str:
    """The header that tells the harness what to call, on what."""
    function = f"{call.prefix}_{call.method}"
    how = f"out[0] = {function}(row)" if call.returns else f"{function}(row, out)"
    values = ",\n    ".join("{" + ", ".join(_literal(v) for v in row) + "}" for row in rows)
    return (
        f'#include "{call.prefix}.h"\n#include <math.h>\n'
        f"#define ROWS {len(rows)}\n#define REPEATS {_REPEATS}\n#define WIDTH {call.width}\n"
        f"#define RESULT {call.returns or 'double'}\n#define ROW const {call.row} *\n#define CALL {how}\n"
        f"static const {call.row} rows[{len(rows)}][{rows.shape[1]}] = {{\n    {values}\n}};\n"
        "static inline ROW row_at(int i) { return rows[i]; }\n"
    )


def _literal(value: float) -> str:
    if np.isnan(value):
        return "NAN"
    if np.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    return float(value).hex()
