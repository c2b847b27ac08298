"""The same float models through every peer's own default int8 and through our ladder, in one run.

    EDGEKIT_ASSETS=… python benchmarks/quantization/run.py FOLDER [--nncf PYTHON] [--only WORD]

FOLDER holds what `hardswish.py` trained, or gets it. NNCF wants an environment of its own (``pip install nncf==3.4.0
onnxruntime==1.32.0``); where none is given, its column says so. Ours is the first rung within a point of the float model,
else the best one; int8 only, since a float model would always win.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from peers import HERE, Peer, Unfit, ai_edge_quantizer, nncf, onnxruntime, tensorflow
from subjects import LIMITS, Subject, fastestdet, hard_swish, keywords, mnist, visual_wake_words
from trained import assets

from edgekit_converters.passes.ladder import rungs
from edgekit_converters.passes.plan import apply_recipe
from edgekit_converters.recipe import PassContext
from edgekit_converters.sensitivity import output_sqnr

HELD = 0.01


@dataclass(frozen=True)
class Score:
    """What came of one way to quantize one model."""

    value: float | None
    decibels: float = 0.0
    note: str = ""

    def __str__(self) -> str:
        if self.value is None:
            return self.note
        return f"{self.value:.4f} ({self.decibels:.0f} dB{', ' + self.note if self.note else ''})"


def scored(subject: Subject, model: object, given: list, note: str = "") -> Score:
    """Judge one quantized model."""
    value = subject.judge(subject.answers(model), given)  # type: ignore[arg-type]
    return Score(value, output_sqnr(subject.floating, model, subject.tests), note)  # type: ignore[arg-type]


def ours(subject: Subject, folder: Path, given: list, floating: float) -> Score:
    """The first rung that holds, else the best; only those with whole numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    limits = replace(LIMITS, precisions=("int8",))
    context = PassContext(limits, folder, lambda: subject.calibration)
    best = Score(None, note="nothing")
    for rung in rungs(subject.floating, limits, context):
        if not rung.name.startswith("int8"):
            continue
        score = scored(subject, apply_recipe(rung.recipe, subject.floating, context), given, rung.name)
        print(f"    {rung.name}: {score}", file=sys.stderr, flush=True)
        if best.value is None or (score.value or 0.0) > best.value:
            best = score
        if floating - (best.value or 0.0) <= HELD:
            break
    return best


def row(subject: Subject, folder: Path, peers: dict[str, Peer]) -> Iterator[str]:
    """The cells of one model."""
    given = subject.answers(subject.floating)
    floating = subject.judge(given, given)
    yield subject.name
    yield f"{floating:.4f} {subject.measure}"
    for name, peer in peers.items():
        place = folder / name.split()[0]
        place.mkdir(parents=True, exist_ok=True)
        try:
            score = scored(subject, peer(subject, place), given)
        except Unfit as error:
            score = Score(None, note=str(error))
        print(f"    {name}: {score}", file=sys.stderr, flush=True)
        yield str(score)
    yield str(ours(subject, folder / "ours", given, floating))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nncf", help="the Python of an environment with NNCF")
    parser.add_argument("--only", default="", help="models whose name holds this word")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    if not (asked.folder / "mobilenet_v3.keras").is_file():
        subprocess.run([sys.executable, str(HERE / "hardswish.py"), str(asked.folder)], check=True)
    peers = {
        "ai-edge-quantizer": ai_edge_quantizer,
        "TFLiteConverter": tensorflow,
        "onnxruntime": onnxruntime,
        "NNCF": nncf(asked.nncf),
    }
    subjects = {
        "mobilenet-tflite": lambda: hard_swish(asked.folder, "tflite"),
        "mobilenet-onnx": lambda: hard_swish(asked.folder, "onnx"),
        "vww": lambda: visual_wake_words(assets(), asked.folder),
        "mnist": lambda: mnist(assets(), asked.folder),
        "keywords": lambda: keywords(assets(), asked.folder),
        "fastestdet": lambda: fastestdet(assets(), asked.folder),
    }
    print("| model | float | " + " | ".join(peers) + " | edgekit |")
    print("|---" * (len(peers) + 3) + "|")
    for name, make in subjects.items():
        if asked.only in name:
            print(f"{name}", file=sys.stderr, flush=True)
            print("| " + " | ".join(row(make(), asked.folder / name, peers)) + " |", flush=True)


if __name__ == "__main__":
    main()
