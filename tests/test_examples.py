"""Every example runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_pytorch_to_jetson_and_its_onnx_again(tmp_path):
    printed = run("pytorch_to_jetson.py", tmp_path)
    assert "chosen: onnx-int8, contract held: True" in printed
    from edgekit import Bundle, ExportPlan, export

    plan = ExportPlan(model=f"{tmp_path}/network.py:network", weights=f"{tmp_path}/digits.safetensors", format="onnx",
                      input_shape=(-1, 1, 32, 32), target="generic-cpu", quantize="fp32",
                      output=f"{tmp_path}/float")  # fmt: skip
    with Bundle.open(export(plan).bundle) as bundle:
        (tmp_path / "theirs.onnx").write_bytes(bundle.read("models/onnx-fp32.onnx"))
    printed = run("requantize_onnx.py", tmp_path / "theirs.onnx", tmp_path / "digits.npz", tmp_path)
    assert "onnx-int8" in printed and "requantized.edgekit" in printed


@pytest.mark.tool("systemd-analyze")
def test_a_service_on_a_jetson(tmp_path):
    printed = run("jetson_service.py", tmp_path)
    assert "self-test passed" in printed and "systemd takes edgekit-serve.service" in printed
    assert float(re.search(r"exposure level for \S+: ([\d.]+)", printed)[1]) <= 2.0
    assert "DeviceAllow=char-nvidia* rw" in (tmp_path / "units/edgekit-serve.service").read_text()


def test_three_boards_and_a_fleet(tmp_path):
    printed = run("fleet_on_a_laptop.py", tmp_path)
    every = [line for line in printed.splitlines() if line.count("SUCCEEDED") == 3]
    assert [line.split(":")[0] for line in every] == ["fp32.edgekit", "int8.edgekit", "and back"]


def test_keras_to_pi(tmp_path):
    printed = run("keras_to_pi.py", tmp_path)
    assert "tflite-int8" in printed and printed.count("saw") == 3


def test_a_detector_for_coral(tmp_path):
    printed = run("coral_detector.py", tmp_path)
    found = re.search(r"(\d+) of 50 drawn pictures", printed)
    assert found and int(found[1]) >= 25 and "here: tflite-int8 on CPU" in printed


def test_keyword_spotter(assets, tmp_path):
    wavs = assets / "data/speech_commands_test60"
    printed = run("keyword_spotter.py", assets / "models/kws_ref/kws_ref_model.tflite", wavs, tmp_path)
    assert printed.count(": yes") >= 2


@pytest.mark.tool("arm-none-eabi-gcc", "qemu-system-arm", "cmake")
def test_a_forest_on_a_microcontroller(tmp_path):
    printed = run("forest_on_cortex_m.py", tmp_path)
    accuracy = re.search(r"accuracy (0\.\d+), in C (0\.\d+)", printed)
    assert accuracy and accuracy[1] == accuracy[2]
    assert "instructions a prediction" in printed and "predict: benign" in printed


@pytest.mark.tool("cc")
def test_intents_in_c(tmp_path):
    printed = run("intents_in_c.py", tmp_path)
    assert [line.rpartition(" ")[2] for line in printed.splitlines()[1:]] == ["light", "music", "timer"]


@pytest.mark.tool("mosquitto")
def test_camera_to_mqtt(trained, tmp_path, monkeypatch):
    """A film of a three and a seven in the place of the camera, a real broker."""
    import cv2

    from edgekit import export

    from .digits import plan
    from .runtime.watch.test_sinks import Broker

    bundle = export(plan(trained, tmp_path / "digits")).bundle
    with np.load(trained / "digits.npz") as arrays:
        x, y = arrays["x_test"], arrays["y_test"]
    # the second of each: the first seven looks like a nine, to the network as well
    film = cv2.VideoWriter(str(tmp_path / "film.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 30, (256, 256))
    for digit in (3, 3, 3, 7, 7, 7):
        picture = np.asarray(x[np.flatnonzero(y == digit)[1]], np.uint8).reshape(32, 32, -1)
        film.write(cv2.resize(np.repeat(picture[..., :1], 3, axis=2), (256, 256)))
    film.release()
    broker = Broker(tmp_path)
    monkeypatch.chdir(tmp_path)
    printed = run("camera_to_mqtt.py", bundle, "film.avi", f"127.0.0.1:{broker.port}")
    broker.kill()
    told = [line for line in printed.splitlines() if line.startswith("home/door: ")]
    assert [line.split()[1] for line in told] == ["3", "7"]
    assert "home/door/status: online" in printed


@pytest.mark.tool("node", "javac")
def test_xgboost_in_javascript(tmp_path):
    printed = run("xgboost_in_javascript.py", tmp_path)
    assert printed.count("169 of 169 sums are equal") == 2


def some(source: Path, target: Path, each: int, names: tuple[str, ...]) -> None:
    """Links to the first few files of some folders."""
    for name in names:
        (target / name).mkdir(parents=True)
        for path in sorted((source / name).iterdir())[:each]:
            (target / name / path.name).symlink_to(path)


def test_training_on_clothes(assets, tmp_path):
    for split, each in (("train", 40), ("validation", 6), ("test", 8)):
        some(
            assets / f"data/clothing_small_160/{split}", tmp_path / "pictures" / split, each, ("hat", "pants", "shoes")
        )
    name = "mobilenet_v1_025_128_imagenet_float"
    printed = run("train_clothes.py", tmp_path / "pictures", assets / f"models/{name}/{name}.keras", tmp_path, 3)
    assert "epoch 6 of 6" in printed
    assert float(re.search(r"float: (\d\.\d+)", printed)[1]) > 0.6  # chance is 0.33
    assert int(re.search(r"tflite-int8: (\d+) KB", printed)[1]) <= 310


def test_training_on_keywords(assets, tmp_path):
    (tmp_path / "wavs").mkdir()
    for word in ("yes", "stop", "_silence_"):
        (tmp_path / "wavs" / word).symlink_to(assets / "data/speech_commands_test60" / word)
    printed = run("train_keywords.py", tmp_path / "wavs", tmp_path, 8)
    assert float(re.search(r"float: (\d\.\d+)", printed)[1]) > 0.5
    assert printed.count(".wav: ") == 3


def test_training_a_detector(tmp_path):
    printed = run("train_detector.py", tmp_path, 80, 2)
    assert "float: mAP" in printed and "drawn" in printed


def test_every_example_is_listed_and_run():
    files = {p.name for p in EXAMPLES.glob("*.py")}
    text = (EXAMPLES / "README.md").read_text()
    tests = "".join(
        (Path(__file__).parent / f"{name}.py").read_text() for name in ("test_examples", "test_real_models")
    )
    assert all(f"`{name}`" in text and f'"{name}"' in tests for name in files)


def test_intents_with_an_encoder(tmp_path, assets):
    import csv
    import json

    from .text_encoders import real_encoder

    data = json.loads((assets / "data/clinc150/data_full.json").read_text("utf-8"))
    texts = tmp_path / "texts"
    texts.mkdir()
    for split, name, most in (("train", "train", 12), ("val", "validation", 5), ("test", "test", 8)):
        with (texts / f"{name}.csv").open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow(["text", "intent"])
            for intent in ("balance", "alarm", "weather"):
                out.writerows([row for row in data[split] if row[1] == intent][:most])
    printed = run("intents_with_an_encoder.py", real_encoder(), texts, tmp_path)
    assert "chosen: onnx-dynamic, contract held: True" in printed
    assert "how much money do i have: balance" in printed and "wake me at seven tomorrow: alarm" in printed


@pytest.mark.tool("cc")
def test_predictive_maintenance(tmp_path, assets):
    printed = run("predictive_maintenance.py", assets / "data/gas_drift", tmp_path)
    mean = float(re.search(r"cross-validated accuracy ([\d.]+)", printed)[1])
    later = [float(value) for value in re.findall(r"batch\d: accuracy ([\d.]+)", printed)]
    assert mean > 0.97 and len(later) == 3 and max(later) < mean - 0.02  # drift
