"""Published models and real data through the whole path, in short forms; `benchmarks/real_models.py` has the long ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgekit.pipeline import export
from edgekit.plan import ExportPlan
from edgekit_runtime import Bundle, Runtime
from edgekit_runtime.plain import encode
from edgekit_runtime.selftest import selftest
from edgekit_runtime.specification import Specification
from edgekit_runtime.specification.presets import image_specification
from edgekit_runtime.specification.step import Context
from tests.test_examples import run as run_example

WORDS = ["down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes", "_silence_", "_unknown_"]
OBJECTS = {"bird.bmp": "bird", "cat.bmp": "cat", "face.jpg": "person", "grace_hopper.bmp": "person",
           "hot_dog.jpg": "hot dog", "pets.jpg": "dog"}  # fmt: skip
FLOAT_PARITY = 1e-4
MAX_DROP = 0.03
TRAIN_EACH = 40


def link(origin: Path, split: str, folder: Path, each: int | None = None) -> None:
    """`folder/split/CLASS/` with links to the first `each` files of every class folder of `origin`."""
    for kind in sorted(p for p in origin.iterdir() if p.is_dir()):
        place = folder / split / kind.name
        place.mkdir(parents=True)
        for file in sorted(kind.iterdir())[:each]:
            (place / file.name).symlink_to(file)


@pytest.fixture(scope="module")
def clothing(assets, tmp_path_factory) -> Path:
    """Some training pictures of each of the ten classes of clothes, and the whole test split."""
    folder = tmp_path_factory.mktemp("clothing")
    link(assets / "data/clothing_small_160/train", "train", folder, TRAIN_EACH)
    link(assets / "data/clothing_small_160/test", "test", folder)
    return folder


@pytest.fixture(scope="module")
def mobilenet(assets, clothing, tmp_path_factory) -> Path:
    """What the Keras example leaves: classifier.keras, classifier.edgekit."""
    folder = tmp_path_factory.mktemp("mobilenet")
    backbone = assets / "models/mobilenet_v1_025_128_imagenet_float/mobilenet_v1_025_128_imagenet_float.keras"
    run_example("keras_transfer.py", backbone, clothing, folder)
    return folder


@pytest.fixture(scope="module")
def shufflenet(assets, clothing, tmp_path_factory) -> Path:
    """What the PyTorch example leaves: jetson.edgekit, pi.edgekit."""
    folder = tmp_path_factory.mktemp("shufflenet")
    printed = run_example("shufflenetv2.py", assets / "models/shufflenetv2_torch/shufflenetv2.pth", clothing, folder)
    assert printed.count("contract held: True") == 2
    return folder


@pytest.fixture(scope="module")
def wavs(assets, tmp_path_factory) -> Path:
    """All 720 wavs as an evaluation split."""
    folder = tmp_path_factory.mktemp("wavs")
    link(assets / "data/speech_commands_test60", "test", folder)
    (folder / "words.txt").write_text("\n".join(WORDS))
    return folder


def figures(path: Path) -> dict[str, tuple[int, float, float]]:
    """Variant to (bytes, drop of accuracy, largest difference from the source as a share of its outputs)."""
    with Bundle.open(path) as bundle:
        selftest(bundle).require()
        manifest = bundle.manifest
        before = manifest.source.metrics["accuracy"]
        return {
            v.name: (len(bundle.read(v.file)), before - v.metrics["accuracy"], v.fidelity["relative"])
            for v in manifest.variants
        }


@pytest.mark.parametrize("file", ["kws_ref_model.tflite", "kws_ref_model_float32.tflite"])
def test_keywords_from_raw_sound_are_as_accurate_as_published(file, assets, wavs, tmp_path):
    index = json.loads((assets / "index.json").read_text())
    known = next(a["measured"] for a in index if a["folder"] == "data/speech_commands_test60")
    result = export(ExportPlan(model=str(assets / "models/kws_ref" / file), target="pi4", data=str(wavs),
                               preprocess="kws-mfcc", labels=str(wavs / "words.txt"),
                               output=str(tmp_path / "kws")))  # fmt: skip
    measured = result.manifest.variant().metrics["accuracy"]
    assert result.variants[0].evaluation.samples == 720
    assert measured == pytest.approx(float(known.split()[0]), abs=0.01)
    with Runtime.open(result.bundle) as spotter:
        heard = [spotter(path.read_bytes())[0].label for path in sorted((wavs / "test/stop").iterdir())]
    assert heard.count("stop") > 45


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_a_keras_network_shrinks_and_keeps_its_accuracy(format, mobilenet, clothing, tmp_path):
    bundle = mobilenet / "classifier.edgekit"
    if format == "onnx":
        bundle = export(ExportPlan(model=str(mobilenet / "classifier.keras"), target="generic-cpu", data=str(clothing),
                                   preprocess="0..255", max_drop=MAX_DROP, keep="all",
                                   output=str(tmp_path / "onnx"))).bundle  # fmt: skip
    made = figures(bundle)
    (floating, drop, parity), (small, small_drop, _) = made[f"{format}-fp32"], made[f"{format}-int8"]
    assert parity <= FLOAT_PARITY and abs(drop) < 1e-3
    assert small <= floating / 2.7 and small_drop <= MAX_DROP
    with Bundle.open(bundle) as opened:
        assert opened.manifest.chosen == f"{format}-int8" and opened.manifest.source.metrics["accuracy"] > 0.5


def test_a_torch_network_reaches_both_formats(shufflenet):
    made = figures(shufflenet / "jetson.edgekit") | figures(shufflenet / "pi.edgekit")
    for format in ("onnx", "tflite"):
        assert made[f"{format}-fp32"][2] <= FLOAT_PARITY
        assert made[f"{format}-int8"][1] <= MAX_DROP
        assert made[f"{format}-int8"][0] < made[f"{format}-fp32"][0] / 1.5


def test_files_tell_nothing_of_the_machine_that_made_them(shufflenet, mobilenet):
    root = str(Path(__file__).parents[1]).encode()
    for path in (*shufflenet.glob("*.edgekit"), *mobilenet.glob("*.edgekit")):
        with Bundle.open(path) as bundle:
            for variant in bundle.manifest.variants:
                content = bundle.read(variant.file)
                assert root not in content and b"site-packages" not in content and b"Traceback" not in content


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_a_model_of_old_keras_gets_a_bundle_that_runs(format, assets, tmp_path):
    result = export(ExportPlan(model=str(assets / "models/vww_96/vww_96.h5"), target="generic-cpu", format=format,
                               quantize="fp32", preprocess="0..1", output=str(tmp_path / "vww")))  # fmt: skip
    assert result.manifest.source.framework == "keras-legacy"
    assert result.manifest.variant().fidelity["max_abs"] <= FLOAT_PARITY
    pictures = [assets / "data/pictures" / name for name in OBJECTS]
    with Runtime.open(result.bundle) as ours:
        found = np.stack([next(iter(ours.tensors(path).values())).reshape(-1) for path in pictures])
    prepared = [image_specification("0..1", 96, 96).preprocess(path.read_bytes(), Context()) for path in pictures]
    published = np.stack([bare(assets / "models/vww_96/vww_96_float.tflite", x) for x in prepared])
    assert np.abs(found - published).max() <= FLOAT_PARITY and np.ptp(published[:, 0]) > 0.1


def bare(path: Path, value: np.ndarray) -> np.ndarray:
    """The output of a TFLite file without any of our code."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], value[None])
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]


def detector() -> Specification:
    """FastestDet's own pre-processing and what its output means."""
    output = [{"step": "grid_boxes"}, {"step": "nms", "score": 0.55}]
    return image_specification("0..1", 352, 352, layout="chw", colour="bgr", output=output)


@pytest.fixture(scope="module")
def detectors(assets, clothing, tmp_path_factory) -> dict[str, Path]:
    """Precision to a bundle of FastestDet; int8 calibrated on pictures of clothes."""
    folder = tmp_path_factory.mktemp("detectors")
    (folder / "spec.json").write_text(json.dumps(encode(detector().to_data())))
    made = {}
    for precision in ("fp32", "int8"):
        plan = ExportPlan(model=str(assets / "models/fastestdet/FastestDet.onnx"), target="pi5", format="onnx",
                          quantize=precision, preprocess=str(folder / "spec.json"), calibration_data=str(clothing),
                          calibration_samples=100, output=str(folder / precision))  # fmt: skip
        made[precision] = export(plan).bundle
    return made


def shared(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0.0) * max(height, 0.0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_detector_finds_the_main_object_of_each_picture(precision, detectors, assets):
    pictures = assets / "data/pictures"
    names = [n for n in (pictures / "coco_labels.txt").read_text().splitlines() if n != "n/a"]
    assert len(names) == 80
    with Runtime.open(detectors[precision]) as runtime:
        best = {name: runtime(pictures / name)[0] for name in OBJECTS}
    assert {name: names[d.index] for name, d in best.items()} == OBJECTS
    left, top, right, bottom = best["cat.bmp"].box
    assert right - left > 50 and bottom - top > 50


def test_a_quantized_detector_draws_the_boxes_of_the_float_one(detectors, assets):
    with Runtime.open(detectors["fp32"]) as floating, Runtime.open(detectors["int8"]) as small:
        for name in OBJECTS:
            first, other = (model(assets / "data/pictures" / name)[0] for model in (floating, small))
            assert shared(first.box, other.box) > 0.85 and abs(first.score - other.score) < 0.15, name
    sizes = {}
    for precision, path in detectors.items():
        with Bundle.open(path) as bundle:
            sizes[precision] = len(bundle.read(bundle.manifest.variant().file))
    assert sizes["int8"] < sizes["fp32"] / 2


def test_a_detector_s_accuracy_is_measured_and_held(detectors, assets, clothing, tmp_path):
    """No labelled pictures are to be had: the float model's boxes stand in for them, so that agreement is measured."""
    pictures = assets / "data/pictures"
    images, annotations = [], []
    (tmp_path / "val").mkdir()
    with Runtime.open(detectors["fp32"]) as floating:
        for number, name in enumerate(OBJECTS):
            (tmp_path / "val" / name).symlink_to(pictures / name)
            images.append({"id": number, "file_name": name})
            for one in floating(pictures / name):
                left, top, right, bottom = one.box
                annotations.append({"image_id": number, "category_id": one.index,
                                    "bbox": [left, top, right - left, bottom - top]})  # fmt: skip
    names = [n for n in (pictures / "coco_labels.txt").read_text().splitlines() if n != "n/a"]
    content = {"images": images, "annotations": annotations,
               "categories": [{"id": i, "name": n} for i, n in enumerate(names)]}  # fmt: skip
    (tmp_path / "val" / "_annotations.coco.json").write_text(json.dumps(content))
    (tmp_path / "spec.json").write_text(json.dumps(encode(detector().to_data())))
    plan = ExportPlan(model=str(assets / "models/fastestdet/FastestDet.onnx"), target="pi5", format="onnx",
                      quantize="auto", preprocess=str(tmp_path / "spec.json"), data=str(tmp_path),
                      calibration_data=str(clothing), calibration_samples=100, max_drop=0.25,
                      output=str(tmp_path / "detector"))  # fmt: skip
    result = export(plan)
    assert result.source.metrics["map"] == pytest.approx(1.0, abs=1e-6), "the boxes are its own"
    int8 = next(r for r in result.variants if r.variant.precision == "int8")
    assert result.choice.held and 0.7 < int8.variant.metrics["map50"] <= 1.0
    assert result.manifest.labels == tuple(names)


def test_a_published_classifier_knows_a_cat(assets, tmp_path):
    """A uint8 file is taken as it is, with the pre-processing that its scale stands for."""
    folder = assets / "models/mobilenet_v1_025_128_imagenet"
    model = str(folder / "mobilenet_v1_0.25_128_quant.tflite")
    result = export(ExportPlan(model=model, target="pi5", output=str(tmp_path / "m"), preprocess="-1..1"))
    names = (folder / "imagenet_labels.txt").read_text().splitlines()
    with Runtime.open(result.bundle) as runtime:
        scores = next(iter(runtime.tensors(assets / "data/pictures/cat.bmp").values()))
    assert sum("cat" in names[i] for i in np.argsort(-scores)[:3]) == 3
