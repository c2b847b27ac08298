"""Instructions per prediction on a Cortex-M4F, counted exactly by QEMU (not time), and bytes of flash.

    python benchmarks/plaincode/cortex_m.py [--peers CACHE_FOLDER] [--optimize=-Os]

`-icount shift=0` makes one instruction one virtual nanosecond; the board's 25 MHz timer then ticks every 40.
Needs gcc-arm-none-eabi, libnewlib-arm-none-eabi and qemu-system-arm.
"""

from __future__ import annotations

import argparse
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from measure import Candidate, peer
from models import trained
from run import HERE, ours, peers_python, trees_of

MODELS = ("rf_cancer", "xgb_cancer", "gb_diabetes")
OURS = {
    "branches exact": {"layout": "speed", "in_order": True},
    "branches float": {"layout": "speed", "in_order": True, "leaves": "float"},
    "branches fixed": {"layout": "speed", "in_order": True, "leaves": "fixed"},
    "size fixed": {"layout": "size", "leaves": "fixed"},
    "auto fixed": {"layout": "auto", "in_order": True, "leaves": "fixed"},
}  # fmt: skip
PEERS = {"rf_cancer": ("tl2cgen", "emlearn", "m2cgen"), "xgb_cancer": ("tl2cgen",), "gb_diabetes": ("tl2cgen",)}
ROWS = 40
_FLAGS = (
    "-mcpu=cortex-m4",
    "-mthumb",
    "-mfloat-abi=hard",
    "-mfpu=fpv4-sp-d16",
    "-w",
    "-std=gnu99",
    "-ffunction-sections",
)
_LINKER = """
MEMORY { FLASH (rx) : ORIGIN = 0, LENGTH = 4M  RAM (rwx) : ORIGIN = 0x20000000, LENGTH = 4M }
SECTIONS {
    .text : { KEEP(*(.vectors)) *(.text*) *(.rodata*) } > FLASH
    .ARM.exidx : { *(.ARM.exidx*) } > FLASH
    .data : { *(.data*) } > RAM AT > FLASH
    .bss : { *(.bss*) *(COMMON) } > RAM
}
"""
_MAIN = """
static void say(const char *text) { register int r0 __asm__("r0") = 4; register const char *r1 __asm__("r1") = text;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory"); }
static void leave(void) { register int r0 __asm__("r0") = 0x18; register int r1 __asm__("r1") = 0x20026;
    __asm__ volatile("bkpt 0xab" : : "r"(r0), "r"(r1)); for (;;) { } }
static const unsigned bits[ROWS * WIDTH] = {BITS};
static KEY row[WIDTH];
static OUT answers[16];
#define TIMER ((volatile unsigned *)0x40000000)
static __attribute__((noinline)) void run(void)
{
    unsigned ticks = 0, begin, r, i;
    char text[12] = "          \\n";
    TIMER[2] = 0xffffffff; TIMER[1] = 0xffffffff; TIMER[0] = 1;
    for (r = 0; r < ROWS; r++) {
        for (i = 0; i < WIDTH; i++) { float v; memcpy(&v, bits + r * WIDTH + i, 4); row[i] = v; }
        begin = TIMER[1];
        for (i = 0; i < 40; i++) { one(row, answers); __asm__ volatile("" : : "r"(row), "r"(answers) : "memory"); }
        ticks += begin - TIMER[1];
    }
    for (i = 10; i; ticks /= 10) text[--i] = '0' + ticks % 10;
    say(text);
    leave();
}
void start(void)
{
    *(volatile unsigned *)0xe000ed88 |= 0xf00000; /* the floating-point unit, before a function saves its registers */
    __asm__ volatile("dsb\\n isb");
    run();
}
__attribute__((section(".vectors"), used)) static void *const vectors[2] = {(void *)0x20400000, (void *)start};
"""


def count(candidate: Candidate, rows: np.ndarray, folder: Path, optimize: str) -> tuple[int, int]:
    """Instructions a prediction, mean over rows, calls included; .text + .rodata of the model alone."""
    single = np.ascontiguousarray(rows[:ROWS], np.float32)
    bits = ", ".join(f"{b}u" for b in single.view(np.uint32).ravel())
    main = _MAIN.replace("ROWS", str(len(single))).replace("WIDTH", str(single.shape[1])).replace("BITS", bits)
    head = f"#include <stddef.h>\n#include <string.h>\n#define KEY {candidate.key}\n#define OUT {candidate.out}\n"
    (folder / "link.ld").write_text(_LINKER)
    (folder / "firmware.c").write_text(f"{head}{candidate.source}\n{candidate.wrapper}\n{main}")
    (folder / "model.c").write_text(f"{head}{candidate.source}\n{candidate.wrapper.replace('static ', '')}\n")
    tool = ["arm-none-eabi-gcc", *_FLAGS, optimize, *([f"-I{candidate.include}"] if candidate.include else [])]
    linked = ["-nostartfiles", "-T", "link.ld", "-o", "firmware.elf", "firmware.c", "-Wl,--gc-sections", "-lm"]
    subprocess.run([*tool, *linked], check=True, cwd=folder)
    subprocess.run([*tool, "-c", "model.c"], check=True, cwd=folder)
    size = subprocess.run(["size", "-A", "model.o"], check=True, cwd=folder, capture_output=True, text=True).stdout
    flash = sum(int(line.split()[1]) for line in size.splitlines() if line.startswith((".text", ".rodata")))
    board = ["-M", "mps2-an386", "-icount", "shift=0", "-nographic", "-semihosting-config", "enable=on,target=native"]
    done = subprocess.run(
        ["qemu-system-arm", *board, "-kernel", "firmware.elf"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    said = (done.stdout + done.stderr).strip()
    if not said.isdigit():
        raise SystemExit(f"the firmware did not end: {said[-300:]}")
    ticks = int(said)
    return round(ticks / len(single)), flash


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, metavar="FOLDER", help="measure the peers too, installed here")
    parser.add_argument("--optimize", default="-Os")
    given = parser.parse_args()
    print("model        name                  instructions  bytes of flash")
    for name in MODELS:
        model, rows = trained(name)
        step = trees_of(model, rows.shape[1])
        candidates = [ours(step, layout, options) for layout, options in OURS.items()]
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            (folder / "model.pkl").write_bytes(pickle.dumps(model))
            np.save(folder / "rows.npy", rows)
            for other in PEERS[name] if given.peers else ():
                made = peer(peers_python(given.peers), HERE / "peers.py", other, folder)
                candidates.append(Candidate(other, **made))
            for candidate in candidates:
                instructions, flash = count(candidate, rows, folder, given.optimize)
                print(f"{name:13}{candidate.name:22}{instructions:12}{flash:16}", flush=True)


if __name__ == "__main__":
    main()
