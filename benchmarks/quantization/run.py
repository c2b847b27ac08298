"""The same float models through every peer's own default int8 and through ours, in one run.

    EDGEKIT_ASSETS=… python benchmarks/quantization/run.py FOLDER [--nncf PYTHON] [--fine RUNS] [--only WORD]

FOLDER holds what `hardswish.py` and `benchmarks/contract.py` train, or gets it. NNCF wants an environment of its own
(``pip install nncf==3.4.0 onnxruntime==1.32.0``); where none is given, its column says so. RUNS is the folder of
`benchmarks/training.py`, for its fine-tuned networks. Ours is what `edgekit export --quantize int8` makes. A cell says
the measure, the share of test samples answered as by float, and the signal to noise ratio of the outputs; the last
column is ours less the best of the others, with the paired bootstrap interval (95 %).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import contract
from peers import HERE, Peer, Unfit, ai_edge_quantizer, nncf, onnxruntime, tensorflow
from subjects import (
    LIMITS,
    Subject,
    agreement,
    boxes,
    fastestdet,
    hard_swish,
    keywords,
    mnist,
    own,
    visual_wake_words,
)
from trained import assets

from edgekit_converters.passes import apply_recipe, recipe_for
from edgekit_converters.recipe import Converted, PassContext
from edgekit_converters.sensitivity import output_sqnr

RESAMPLED = 500


@dataclass(frozen=True)
class Score:
    """What came of one way to quantize one model; the note alone where nothing did."""

    answers: tuple[np.ndarray, ...] = ()
    value: float = 0.0
    same: float = 0.0
    decibels: float = 0.0
    note: str = ""

    def __str__(self) -> str:
        if not self.answers:
            return self.note
        same = "" if np.isnan(self.same) else f", {self.same:.4f} as float"
        return f"{self.value:.4f}{same} ({self.decibels:.0f} dB)"


def scored(subject: Subject, make: Callable[[], Converted], given: list[np.ndarray]) -> Score:
    """Judge one way to quantize."""
    try:
        model = make()
    except Unfit as error:
        return Score(note=str(error))
    found = subject.answers(model)
    same = agreement(found, given) if subject.judge is not boxes and subject.judge is not agreement else float("nan")
    value = subject.judge(found, given, range(len(given)))
    return Score(tuple(found), value, same, output_sqnr(subject.floating, model, subject.tests))


def ours(subject: Subject, folder: Path) -> Converted:
    """As `edgekit export --quantize int8` does it."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe = recipe_for("int8", subject.floating.format, LIMITS)
    return apply_recipe(recipe, subject.floating, PassContext(LIMITS, folder, lambda: subject.calibration))


def ahead(subject: Subject, made: Score, others: list[Score], given: list[np.ndarray]) -> str:
    """How far ours is ahead of the best of the others, and how sure that is."""
    best = max((o for o in others if o.answers), key=lambda o: o.value)
    random = np.random.default_rng(0)
    gaps = []
    for _ in range(RESAMPLED):
        block = random.integers(len(given), size=len(given))
        picked = [given[i] for i in block]
        values = [subject.judge([score.answers[i] for i in block], picked, block) for score in (made, best)]
        gaps.append(values[0] - values[1])
    low, high = np.quantile(gaps, (0.025, 0.975))
    return f"{made.value - best.value:+.4f} ({low:+.4f} to {high:+.4f})"


def row(subject: Subject, folder: Path, peers: dict[str, Peer]) -> Iterator[str]:
    """The cells of one model."""
    given = subject.answers(subject.floating)
    yield subject.name
    yield f"{subject.judge(given, given, range(len(given))):.4f} {subject.measure}"
    others = []
    for name, peer in peers.items():
        place = folder / name.split()[0]
        place.mkdir(parents=True, exist_ok=True)
        others.append(scored(subject, lambda peer=peer, place=place: peer(subject, place), given))  # type: ignore[misc]
        yield str(others[-1])
    made = scored(subject, lambda: ours(subject, folder / "ours"), given)
    yield str(made)
    yield ahead(subject, made, others, given)


def clothes(folder: Path, trained: Path) -> Subject:
    """MobileNetV1-0.25@128 with a logistic head."""
    settings = contract.mobilenet(trained)
    return own("MobileNetV1-0.25 (clothes)", "tflite", folder / "clothes", settings, Path(settings["model"]))


def fine(runs: Path, number: int, folder: Path) -> Subject:
    """The same backbone, fine-tuned."""
    run = runs / f"fine-{number}"
    settings = {"model": str(run), "data": str(assets() / "data/clothing_small_160")}
    title = f"MobileNetV1-0.25 (clothes), fine-tuned, seed {number}"
    return own(title, "tflite", folder / run.name, settings, run / "model.keras")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nncf", help="the Python of an environment with NNCF")
    parser.add_argument("--fine", type=Path, help="the folder of benchmarks/training.py, with its run folders")
    parser.add_argument("--only", default="", help="models whose name holds this word")
    asked = parser.parse_args()
    trained = asked.folder / "trained"
    trained.mkdir(parents=True, exist_ok=True)
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
        "ds-cnn": lambda: own("DS-CNN (keywords), trained here", "onnx", asked.folder / "ds-cnn",
                              contract.keywords(trained)),
        "clothes": lambda: clothes(asked.folder, trained),
        "shufflenet": lambda: own("ShuffleNetV2 (clothes)", "onnx", asked.folder / "shufflenet",
                                  contract.shufflenet(trained)),
        "fastestdet": lambda: fastestdet(assets(), asked.folder),
    }  # fmt: skip
    for number in range(3) if asked.fine else ():
        subjects[f"fine-{number}"] = lambda number=number: fine(asked.fine, number, asked.folder)  # type: ignore[misc]
    print("| model | float | " + " | ".join(peers) + " | edgekit | ahead of the best by |")
    print("|---" * (len(peers) + 4) + "|", flush=True)
    for name, make in subjects.items():
        if asked.only in name:
            print(f"{name}", file=sys.stderr, flush=True)
            print("| " + " | ".join(row(make(), asked.folder / name, peers)) + " |", flush=True)


if __name__ == "__main__":
    main()
