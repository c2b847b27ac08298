"""Wall clock and peak memory of `edgekit export` against bare scripts that convert and quantize the same models.

    EDGEKIT_ASSETS=… python benchmarks/export_overhead.py [FOLDER]

The scripts in `bare/` load the same model, calibrate with the same pictures and write an int8 file, nothing else.
`same work`: edgekit without --data; it still compares outputs with the source, makes golden samples, self-tests and
measures latency. `with accuracy`: edgekit with --data evaluates the source and every variant on the test split too.
Run in turn, A B C A B C …; the ratio is that of the medians. Peak memory is the proportional set size of the process and
its children, sampled in a run of its own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from trained import ROOT, assets, keras_classifier, torch_classifier

PICTURES = 200
ROUNDS = 5


def tree_memory(pid: int) -> int:
    """Proportional set size in KiB of a process and everything it started."""
    total = 0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total = int(line.split()[1])
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(tree_memory(int(child)) for child in (task / "children").read_text().split())
    except (OSError, ValueError):  # it ended meanwhile
        return total
    return total


def run(command: list[str], log: Path, *, sample: bool = False) -> tuple[float, int]:
    """(seconds, peak KiB) of a command; the peak is 0 unless it is sampled."""
    begin, peak = time.perf_counter(), 0
    with log.open("w") as stream:
        child = subprocess.Popen(command, stdout=stream, stderr=stream, cwd=log.parent)
        while sample and child.poll() is None:
            peak = max(peak, tree_memory(child.pid))
            time.sleep(0.02)
        child.wait()
    if child.returncode:
        sys.exit(f"{' '.join(command)} failed: {log.read_text()[-2000:]}")
    return time.perf_counter() - begin, peak


def pictures(folder: Path) -> Path:
    """`PICTURES` training pictures, spread over the classes."""
    classes = sorted((assets() / "data/clothing_small_160/train").iterdir())
    for kind in classes:
        place = folder / "calibration/train" / kind.name
        place.mkdir(parents=True, exist_ok=True)
        for file in sorted(kind.iterdir())[: PICTURES // len(classes)]:
            if not (place / file.name).exists():
                (place / file.name).symlink_to(file)
    return folder / "calibration"  # edgekit would hold out a part of class folders without `train` above them


def cases(folder: Path) -> dict[str, tuple[list[str], list[str]]]:
    """Name to (arguments of the bare script, arguments of `edgekit export`)."""
    torch, keras = torch_classifier(folder), keras_classifier(folder)
    code = f"{ROOT}/examples/shufflenetv2.py:classifier"
    return {
        "torch → ONNX int8": (
            ["torch_onnx.py", f"{torch}/classifier.safetensors"],
            [code, "--weights", f"{torch}/classifier.safetensors", "--input-shape=-1,3,160,160", "--target", "jetson",
             "--preprocess", f"{torch}/preprocess.json"],
        ),
        "Keras → TFLite int8": (
            ["keras_tflite.py", f"{keras}/classifier.keras"],
            [f"{keras}/classifier.keras", "--target", "pi5", "--preprocess", "0..255"],
        ),
        "TFLite → TFLite int8": (
            ["tflite_int8.py", f"{keras}/classifier.tflite"],
            [f"{keras}/classifier.tflite", "--target", "pi5", "--preprocess", "0..255"],
        ),
    }  # fmt: skip


def main(folder: Path, rounds: int = ROUNDS) -> None:
    calibration = pictures(folder)
    print(f"{'':22}{'':16}{'seconds':>9}{'ratio':>8}{'MiB':>7}{'ratio':>8}")
    for name, (bare, ours) in cases(folder).items():
        export = [sys.executable, "-m", "edgekit", "export", *ours, "--quantize", "int8", "--overwrite",
                  "--calibration-data", str(calibration), "--output", str(folder / "out.edgekit")]  # fmt: skip
        script = str(ROOT / "benchmarks/bare" / bare[0])
        commands = {
            "bare script": [sys.executable, script, *bare[1:], str(calibration / "train"), str(folder / "out.bin")],
            "same work": export,
            "with accuracy": [*export, "--data", str(assets() / "data/clothing_small_160")],
        }
        peaks = {kind: run(command, folder / "log.txt", sample=True)[1] for kind, command in commands.items()}
        taken: dict[str, list[float]] = {kind: [] for kind in commands}
        for _ in range(rounds):
            for kind, command in commands.items():
                taken[kind].append(run(command, folder / "log.txt")[0])
        base = median(taken["bare script"])
        for kind, seconds in taken.items():
            print(
                f"{name:22}{kind:16}{median(seconds):9.1f}{median(seconds) / base:8.2f}{peaks[kind] / 1024:7.0f}"
                f"{peaks[kind] / peaks['bare script']:8.2f}",
                flush=True,
            )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]).resolve())
    else:
        with tempfile.TemporaryDirectory(prefix="edgekit-bench-") as place:
            main(Path(place))
