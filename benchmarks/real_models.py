"""The long form of tests/test_real_models.py: published models and whole data sets through the path, as one table.

    EDGEKIT_ASSETS=… python benchmarks/real_models.py [FOLDER]

`parity` is the largest difference from the source as a share of its largest output, on four samples. `ms ratio` is the
median time of one inference over that of the float variant in the same format, run in turn on one thread. FOLDER keeps
what was trained and exported; what is there is not made again.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from side_by_side import side_by_side
from trained import ROOT, assets, keras_classifier, link, torch_classifier

from edgekit import Bundle, ExportPlan, Runtime, export
from edgekit_runtime.plain import encode
from edgekit_runtime.samples import decode_raw
from edgekit_runtime.specification.detection import Detection
from edgekit_runtime.specification.presets import image_specification

WORDS = ["down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes", "_silence_", "_unknown_"]
OBJECTS = {"bird.bmp": "bird", "cat.bmp": "cat", "face.jpg": "person", "grace_hopper.bmp": "person",
           "hot_dog.jpg": "hot dog", "pets.jpg": "dog"}  # fmt: skip
THREADS = 1


@dataclass(frozen=True)
class Row:
    """One variant of one model."""

    model: str
    variant: str
    target: str
    kilobytes: float
    source: str
    exported: str
    drop: str
    parity: float
    ratio: str = ""

    def cells(self) -> list[str]:
        """As printed."""
        return [self.model, self.variant, self.target, f"{self.kilobytes:.0f}", self.source, self.exported, self.drop,
                f"{self.parity:.1e}", self.ratio]  # fmt: skip


HEAD = ["source", "variant", "target", "KB", "source's", "exported", "drop", "parity", "ms ratio to float"]


def made(folder: Path, name: str, **settings: object) -> Path:
    """A bundle with every variant, exported unless it is there."""
    path = folder / f"{name}.edgekit"
    if not path.is_file():
        export(ExportPlan(output=str(path), keep="all", **settings))  # type: ignore[arg-type]
    return path


def ratio(path: Path, variant: str, other: str) -> float:
    """Median time of one inference of a variant over that of another, in turn."""
    with (
        Runtime.open(path, variant=variant, threads=THREADS) as ours,
        Runtime.open(path, variant=other, threads=THREADS) as theirs,
        Bundle.open(path) as bundle,
    ):
        sample = bundle.manifest.golden.samples[0].raw
        value = ours.specification.preprocess(decode_raw(sample, bundle.read(sample)), ours.context())
        feed = {ours.manifest.inputs[0].name: np.asarray(value)[None]}
        return side_by_side(lambda: ours.run(feed), lambda: theirs.run(feed)).ratio


def rows(model: str, path: Path, metric: str = "accuracy") -> Iterator[Row]:
    """A row for every variant of a bundle."""
    with Bundle.open(path) as bundle:
        manifest = bundle.manifest
        sizes = {v.name: len(bundle.read(v.file)) / 1000 for v in manifest.variants}
    before = manifest.source.metrics.get(metric)
    names = {v.name for v in manifest.variants}
    for v in manifest.variants:
        floating = f"{v.format}-fp32"
        faster = f"{ratio(path, v.name, floating):.2f}" if floating in names - {v.name} else ""
        after = v.metrics.get(metric)
        known = before is not None and after is not None
        yield Row(model, v.name, manifest.target, sizes[v.name], f"{before:.4f}" if known else "-",
                  f"{after:.4f}" if known else "-", f"{before - after:+.4f}" if known else "-",
                  v.fidelity["relative"], faster)  # fmt: skip


def keywords(folder: Path) -> Iterator[Row]:
    """MLPerf Tiny keyword spotting from 720 raw wavs; the file called float32 holds int8 weights with float arithmetic."""
    wavs = link(assets() / "data/speech_commands_test60", "test", folder / "wavs")
    (folder / "words.txt").write_text("\n".join(WORDS))
    for file in ("kws_ref_model", "kws_ref_model_float32"):
        path = made(folder, file, model=str(assets() / f"models/kws_ref/{file}.tflite"), target="pi4", data=str(wavs),
                    preprocess="kws-mfcc", labels=str(folder / "words.txt"))  # fmt: skip
        yield from rows(f"{file}.tflite", path)


def mobilenet(folder: Path) -> Iterator[Row]:
    """MobileNetV1-0.25@128 with a logistic head on clothes, 372 test pictures."""
    keras = keras_classifier(folder)
    yield from rows("MobileNetV1-0.25@128 .keras", keras / "classifier.edgekit")
    path = made(folder, "mobilenet-onnx", model=str(keras / "classifier.keras"), target="generic-cpu",
                data=str(assets() / "data/clothing_small_160"), preprocess="0..255", max_drop=0.03)  # fmt: skip
    yield from rows("MobileNetV1-0.25@128 .keras", path)


def old_keras(folder: Path) -> Iterator[Row]:
    """Visual wake words; no labelled pictures to be had, so parity alone."""
    for format in ("tflite", "onnx"):
        path = made(folder, f"vww-{format}", model=str(assets() / "models/vww_96/vww_96.h5"), target="generic-cpu",
                    format=format, quantize="fp32", preprocess="0..1")  # fmt: skip
        yield from rows("VWW MobileNetV1 .h5", path)


def shufflenet(folder: Path) -> Iterator[Row]:
    """ShuffleNetV2 with a logistic head on clothes; activations signed for the Jetson, unsigned for CPUs."""
    torch = torch_classifier(folder)
    path = made(folder, "shufflenet-cpu", model=f"{ROOT}/examples/shufflenetv2.py:classifier", target="generic-cpu",
                weights=str(torch / "classifier.safetensors"), input_shape=(-1, 3, 160, 160),
                data=str(assets() / "data/clothing_small_160"), preprocess=str(torch / "preprocess.json"),
                max_drop=0.03)  # fmt: skip
    for bundle in (torch / "pi.edgekit", path, torch / "jetson.edgekit"):
        yield from rows("ShuffleNetV2 torch", bundle)


def found(path: Path, picture: Path) -> list[Detection]:
    """What a detector finds, best first."""
    with Runtime.open(path) as runtime:
        return list(runtime(picture))


def shared(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0.0) * max(height, 0.0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def detector(folder: Path) -> Iterator[Row]:
    """FastestDet: main objects found in six pictures, and how the int8 boxes agree with the float ones."""
    output = [{"step": "grid_boxes"}, {"step": "nms", "score": 0.55}]
    specification = image_specification("0..1", 352, 352, layout="chw", colour="bgr", output=output)
    (folder / "detector.json").write_text(json.dumps(encode(specification.to_data())))
    plans = {
        precision: made(folder, f"fastestdet-{precision}", model=str(assets() / "models/fastestdet/FastestDet.onnx"),
                        target="pi5", format="onnx", quantize=precision, preprocess=str(folder / "detector.json"),
                        calibration_data=str(assets() / "data/clothing_small_160"))
        for precision in ("fp32", "int8")
    }  # fmt: skip
    pictures = assets() / "data/pictures"
    names = [n for n in (pictures / "coco_labels.txt").read_text().splitlines() if n != "n/a"]
    boxes = {p: {name: found(path, pictures / name) for name in OBJECTS} for p, path in plans.items()}
    for precision, path in plans.items():
        right = sum(names[boxes[precision][name][0].index] == what for name, what in OBJECTS.items())
        row = next(rows("FastestDet .onnx", path))
        yield Row(row.model, row.variant, row.target, row.kilobytes, f"{len(OBJECTS)} objects", f"{right} found",
                  "-", row.parity, f"{_apart(plans):.2f}" if precision == "int8" else "")  # fmt: skip
    pairs = [
        max((shared(a.box, b.box) for b in boxes["int8"][n] if b.index == a.index), default=0.0)
        for n in OBJECTS
        for a in boxes["fp32"][n]
    ]
    extra = sum(len(v) for v in boxes["int8"].values()) - sum(p > 0.5 for p in pairs)
    print(
        f"FastestDet: {sum(p > 0.5 for p in pairs)} of {len(pairs)} float boxes have an int8 box of their class with more "
        f"than half in common (mean overlap {np.mean([p for p in pairs if p > 0.5]):.2f}); {extra} int8 boxes are extra"
    )


def _apart(plans: dict[str, Path]) -> float:
    """Time of the int8 detector over the float one, each in its bundle."""
    value = np.random.default_rng(0).random((1, 3, 352, 352), np.float32)
    with Runtime.open(plans["int8"], threads=THREADS) as ours, Runtime.open(plans["fp32"], threads=THREADS) as theirs:
        feed = {ours.manifest.inputs[0].name: value}
        return side_by_side(lambda: ours.run(feed), lambda: theirs.run(feed), rounds=100).ratio


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    table = [r.cells() for part in (keywords, mobilenet, old_keras, shufflenet, detector) for r in part(folder)]
    print("| " + " | ".join(HEAD) + " |")
    print("|" + "---|" * len(HEAD))
    for cells in table:
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]).resolve())
    else:
        with tempfile.TemporaryDirectory(prefix="edgekit-bench-") as place:
            main(Path(place))
