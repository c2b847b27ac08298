"""The float models that are quantized, and what each is calibrated and judged on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from hardswish import digits
from PIL import Image
from trained import link

from edgekit import ExportPlan
from edgekit.data import open_dataset
from edgekit.feeding import feeds
from edgekit.workbench import workbench
from edgekit_converters.limits import TargetLimits
from edgekit_converters.passes.tflite_file import TfliteFile
from edgekit_converters.recipe import Converted, Feeds
from edgekit_converters.registry import conversion, load_source
from edgekit_converters.sensitivity import opened
from edgekit_converters.source import SourceRequest
from edgekit_converters.tap import steps_of
from edgekit_runtime.specification.presets import audio_specification

WORDS = ["down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes", "_silence_", "_unknown_"]
LIMITS = TargetLimits(("tflite", "onnx"), channels_last=True)
Judge = Callable[[Sequence[np.ndarray], Sequence[np.ndarray], Sequence[int]], float]
"""(answers of the quantized model, those of the float one, which test samples they are to) to a share of 1."""


@dataclass(frozen=True)
class Subject:
    """A float model.

    Attributes:
        name: In the table.
        floating: It.
        calibration: Samples that ranges are found on.
        tests: Others that it is judged on.
        judge: How.
        measure: What that is, in words.
        keras: The Keras file that TensorFlow's own converter takes, where there is one.
    """

    name: str
    floating: Converted
    calibration: list[Feeds]
    tests: list[Feeds]
    judge: Judge
    measure: str
    keras: Path | None = None

    def answers(self, model: Converted) -> list[np.ndarray]:
        """The first output for every test sample."""
        with opened(model) as run:
            return [next(iter(run(sample, n).values())) for n, sample in enumerate(self.tests)]


def accuracy(labels: Sequence[int]) -> Judge:
    """Share of right answers."""

    def judge(found: Sequence[np.ndarray], _given: Sequence[np.ndarray], places: Sequence[int]) -> float:
        return float(np.mean([f.argmax() == labels[place] for f, place in zip(found, places, strict=True)]))

    return judge


def agreement(found: Sequence[np.ndarray], given: Sequence[np.ndarray], _places: Sequence[int] = ()) -> float:
    """Share of answers that are the float model's."""
    return float(np.mean([f.argmax() == g.argmax() for f, g in zip(found, given, strict=True)]))


def boxes(found: Sequence[np.ndarray], given: Sequence[np.ndarray], _places: Sequence[int] = ()) -> float:
    """Detections (cell and class, FastestDet's score above 0.3) in common, over those of either."""
    both = [(_detections(f), _detections(g)) for f, g in zip(found, given, strict=True)]
    return sum(len(f & g) for f, g in both) / max(sum(len(f | g) for f, g in both), 1)


def _detections(answer: np.ndarray) -> set[tuple[int, int]]:
    objects, classes = answer[0, 0].ravel(), answer[0, 5:].reshape(answer.shape[1] - 5, -1)
    scores = np.clip(objects, 0, 1) ** 0.6 * classes.max(0) ** 0.4
    return {(int(cell), int(classes[:, cell].argmax())) for cell in np.flatnonzero(scores > 0.3)}


def lowered(path: Path, format: str, folder: Path) -> Converted:
    """A model file as a float file of a format."""
    folder.mkdir(parents=True, exist_ok=True)
    source = load_source(SourceRequest(str(path)))
    try:
        return conversion(source.framework, format)(source, folder, LIMITS)
    finally:
        source.close()


def pictures(assets: Path, split: str, count: int, side: int) -> list[np.ndarray]:
    """Clothes, spread over the classes, as side x side x 3 in 0..1."""
    paths = sorted((assets / "data/clothing_small_160" / split).rglob("*.jpg"))
    chosen = paths[:: max(len(paths) // count, 1)][:count]
    return [np.asarray(Image.open(p).convert("RGB").resize((side, side)), np.float32) / 255 for p in chosen]


def keywords(assets: Path, folder: Path) -> Subject:
    """MLPerf Tiny's DS-CNN, its int8 weights turned into floats again; every eighth wav is for calibration, half of the others for testing."""
    floating = lowered(
        floated(assets / "models/kws_ref/kws_ref_model_float32.tflite", folder), "tflite", folder / "kws"
    )
    wavs = link(assets / "data/speech_commands_test60", "test", folder / "wavs")
    samples = open_dataset(str(wavs), labels_order=WORDS).split("test")
    held = [s for n, s in enumerate(samples) if n % 8 == 0]
    tests = [s for n, s in enumerate(samples) if n % 8 and n % 2]
    specification, infos = audio_specification("kws-mfcc"), load_source(SourceRequest(str(floating.path))).inputs
    made = [[feeds(specification, infos, [s]) for s in part] for part in (held, tests)]
    return Subject("DS-CNN (keywords)", floating, made[0], made[1], accuracy([s.label for s in tests]), "accuracy")


def floated(path: Path, folder: Path) -> Path:
    """A file with int8 weights and float arithmetic, its weights float again."""
    from ai_edge_litert import schema_py_generated as schema

    file = TfliteFile(path)
    for index, tensor in enumerate(file.graph.tensors):
        quantization = tensor.quantization
        if tensor.type != schema.TensorType.INT8 or quantization is None or quantization.scale is None:
            continue
        values = file.stored(index)
        if values is None:
            continue
        real = steps_of(quantization.scale, quantization.zeroPoint, np.int8, quantization.quantizedDimension)
        tensor.type, tensor.quantization = schema.TensorType.FLOAT32, None
        file.set_constant(index, real.values(values))
    file.save(folder / "kws_float.tflite")
    return folder / "kws_float.tflite"


def visual_wake_words(assets: Path, folder: Path) -> Subject:
    """MLPerf Tiny's MobileNetV1 on pictures without labels."""
    floating = lowered(assets / "models/vww_96/vww_96_float.tflite", "tflite", folder / "vww")
    name = floating.inputs[0].tensor
    given, asked = ([{name: p[None]} for p in pictures(assets, *part, 96)] for part in (("train", 60), ("test", 200)))
    keras = assets / "models/vww_96/vww_96.h5"
    return Subject("MobileNetV1-0.25 (VWW)", floating, given, asked, agreement, "agreement", keras)


def mnist(assets: Path, folder: Path) -> Subject:
    """The model zoo's CNN on scikit-learn's digits, which it was not trained on."""
    floating = lowered(assets / "models/mnist_onnx/mnist.onnx", "onnx", folder / "mnist")
    data, name = digits(), floating.inputs[0].tensor

    def given(images: np.ndarray) -> list[Feeds]:
        small = [Image.fromarray(i[..., 0].astype(np.uint8)).resize((20, 20)) for i in images]
        return [{name: np.pad(np.asarray(s, np.float32), 4)[None, None]} for s in small]

    tests = given(data["test"])
    return Subject("CNN (MNIST)", floating, given(data["train"][:60]), tests, accuracy(data["test_labels"]), "accuracy")


def own(title: str, format: str, folder: Path, settings: Mapping[str, Any], keras: Path | None = None) -> Subject:
    """A network trained here; 200 samples of its training split calibrate, as in an export, its test split judges.

    Args:
        title: In the table.
        format: To lower it to.
        folder: For files.
        settings: Of an export: `model`, `data` and so on.
        keras: The Keras file, where there is one.
    """
    plan = ExportPlan(target="pi5", format=format, output=str(folder / "unused.edgekit"), **settings)
    folder.mkdir(parents=True, exist_ok=True)
    with workbench(plan) as bench:
        floating = replace(bench.floating, path=folder / bench.floating.path.name)
        floating.path.write_bytes(bench.floating.path.read_bytes())
        held = bench.material.evaluation
        tests = [feeds(bench.specification, bench.source.inputs, [s]) for s in held]
        given = list(bench.calibration_feeds())
    return Subject(title, floating, given, tests, accuracy([s.label or 0 for s in held]), "accuracy", keras)


def fastestdet(assets: Path, folder: Path) -> Subject:
    """FastestDet on pictures without boxes."""
    floating = lowered(assets / "models/fastestdet/FastestDet.onnx", "onnx", folder / "fastestdet")
    name = floating.inputs[0].tensor

    def given(split: str, count: int) -> list[Feeds]:
        return [
            {name: np.ascontiguousarray(p[..., ::-1].transpose(2, 0, 1))[None]}
            for p in pictures(assets, split, count, 352)
        ]

    return Subject("FastestDet", floating, given("train", 12), given("test", 24), boxes, "boxes in common")


def hard_swish(folder: Path, format: str) -> Subject:
    """MobileNetV3-Small on digits, trained by `hardswish`."""
    keras = folder / "mobilenet_v3.keras"
    floating = lowered(keras, format, folder / f"mobilenet_v3-{format}")
    data, name = np.load(folder / "digits.npz"), floating.inputs[0].tensor
    given, asked = ([{name: p[None]} for p in part] for part in (data["train"][::20], data["test"]))
    title = f"MobileNetV3-Small (digits), {format}"
    return Subject(title, floating, given, asked, accuracy(data["test_labels"]), "accuracy", keras)
