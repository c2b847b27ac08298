"""Compile one candidate, take its size, and time one pass over the rows; C and the processor's clock."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

_TIMED = """
#include <time.h>
static double bench_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
double bench_one(const KEY *x, OUT *out, size_t rows, size_t width, size_t outputs)
{
    double began = bench_clock();
    for (size_t r = 0; r < rows; r++)
        one(x + r * width, out + r * outputs);
    return bench_clock() - began;
}
"""
_TIMED_ROWS = """
double bench_rows(const KEY *x, OUT *out, size_t rows, size_t width, size_t outputs)
{
    double began = bench_clock();
    many(x, out, rows, width, outputs);
    return bench_clock() - began;
}
"""
_CHILD = (
    "import resource, subprocess, sys\n"
    "done = subprocess.run(sys.argv[1:], stderr=subprocess.PIPE)\n"
    "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
    "print(done.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss)\n"
)
_GIVE_UP = 60  # seconds that a compiler may take


@dataclass
class Candidate:
    """One way to run a model, and what was found out about it."""

    name: str
    source: str
    wrapper: str
    key: str
    out: str
    answers: str = ""
    many: str = ""
    include: str = ""
    language: str = "c"
    outputs: int = 1
    figures: dict[str, object] = field(default_factory=dict)
    passes: dict[str, list[float]] = field(default_factory=lambda: {"bench_one": [], "bench_rows": []})
    library: ctypes.CDLL | None = None

    def build(self, folder: Path) -> None:
        """Compile it for speed (a library to be timed) and for size."""
        stem = folder / self.name.replace(" ", "_")
        ending = ".cpp" if self.language == "c++" else ".c"
        compiler = ["g++"] if self.language == "c++" else ["gcc", "-std=gnu99"]
        head = f"#include <stddef.h>\n#define KEY {self.key}\n#define OUT {self.out}\n"
        timed, plain = stem.with_suffix(ending), Path(f"{stem}_size{ending}")
        extern = 'extern "C" {' + _TIMED + "}\n" if self.language == "c++" else _TIMED
        timed.write_text(
            f"{head}{self.source}\n{self.wrapper}\n{self.many}\n{extern}{_TIMED_ROWS if self.many else ''}"
        )
        plain.write_text(f"{head}{self.source}\n{self.wrapper.replace('static ', '')}\n")
        flags = ["-w", *([f"-I{self.include}"] if self.include else [])]
        command = [*compiler, "-O2", *flags, "-fPIC", "-shared", "-o", f"{stem}.so", str(timed), "-lm"]
        text = _run([sys.executable, "-S", "-c", _CHILD, *command])
        self.figures["source bytes"] = len(self.source)
        if not text or text[0] != "0":
            self.figures["note"] = "does not compile" if text else f"gcc over {_GIVE_UP} s"
            return
        self.figures |= {"gcc s": round(float(text[1]), 2), "gcc MB": int(text[2]) // 1024}
        subprocess.run([*compiler, "-Os", *flags, "-c", "-o", f"{stem}.o", str(plain)], check=True)
        listed = subprocess.run(["size", "-A", f"{stem}.o"], check=True, capture_output=True, text=True).stdout
        sections = [line.split() for line in listed.splitlines() if line.startswith((".text", ".rodata"))]
        self.figures["bytes"] = sum(int(s[1]) for s in sections)
        self.library = ctypes.CDLL(f"{stem}.so")

    def run(self, rows: np.ndarray, function: str = "bench_one") -> np.ndarray:
        """One pass; remembers its nanoseconds a row; returns the answers."""
        assert self.library is not None
        x = np.ascontiguousarray(rows, np.float32 if self.key == "float" else np.float64)
        out = np.zeros((len(x), self.outputs), np.float32 if self.out == "float" else np.float64)
        call = self.library[function]
        call.restype = ctypes.c_double
        pointers = (ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(out.ctypes.data))
        took = call(*pointers, *map(ctypes.c_size_t, (*x.shape, self.outputs)))
        self.passes[function].append(took / len(x) * 1e9)
        return out

    def settle(self) -> None:
        """Figures of all passes: the least, and the median."""
        for function, name in (("bench_one", "ns"), ("bench_rows", "ns rows")):
            if taken := self.passes[function]:
                self.figures |= {name: min(taken), f"{name} median": median(taken)}


def _run(command: list[str]) -> list[str]:
    """Words that a command prints; none where it takes too long (it and what it started are then ended)."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as child:
        try:
            return child.communicate(timeout=_GIVE_UP)[0].split()
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            return []


def peer(python: Path, script: Path, name: str, folder: Path) -> dict[str, object]:
    """What a peer makes of ``model.pkl`` and ``rows.npy`` in a folder; ``note`` where it fails."""
    done = subprocess.run(
        [str(python), str(script), name, str(folder)], capture_output=True, text=True, timeout=900, check=False
    )
    if done.returncode:
        return {"note": done.stderr.strip().splitlines()[-1][:90]}
    return json.loads((folder / f"{name}.json").read_text())
