"""Every task from data to a run folder, and what export makes of it; small enough for seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit import Bundle, ExportPlan, export
from edgekit.training import TrainPlan, export_plan, train
from edgekit_converters.errors import TrainingError
from edgekit_converters.train import TrainConfig, Watch
from edgekit_runtime.errors import MissingRequirement

RUN = {"config.json", "curves.html", "curves.png", "log.csv", "result.json", "specification.json"}


def windows(path: Path, numbers: bool = False) -> str:
    random = np.random.default_rng(0)
    kinds = random.integers(0, 2, 200)
    values = random.normal(size=(200, 16, 2)) + np.linspace(0, 3, 16)[None, :, None] * kinds[:, None, None] + 50
    targets = values.mean((1, 2)) * 10 if numbers else kinds
    np.savez(path, x=values.astype(np.float32), y=targets)
    return str(path)


def pictures(path: Path, size: int = 32, count: int = 80) -> str:
    random = np.random.default_rng(0)
    kinds = random.integers(0, 2, count)
    found = random.integers(0, 90, (count, size, size, 3)) + kinds[:, None, None, None] * 120
    np.savez(path, x=found.astype(np.uint8), y=np.array(["dark", "light"])[kinds])
    return str(path)


def test_a_sensor_classifier_from_windows_to_a_bundle(tmp_path):
    run = tmp_path / "vibration"
    config = TrainConfig("sensor", epochs=6, rate=1e-2, options={"width": 8, "layers": 2})
    found = train(TrainPlan(windows(tmp_path / "w.npz"), config, str(run)))
    assert {p.name for p in run.iterdir()} == RUN | {"labels.txt", "model.pt2", "network.json", "weights.safetensors"}
    assert found.evaluation.metrics["accuracy"] > 0.9
    assert json.loads((run / "result.json").read_text())["test"] == found.evaluation.metrics
    page = (run / "curves.html").read_text()
    assert page.count("<svg") == 2 and "polyline" in page and "sensor on w.npz" in page
    plan = export_plan(run, "generic-cpu", output=str(tmp_path / "v"), quantize="fp32", format="onnx")
    result = export(plan)
    assert result.source.metrics == found.evaluation.metrics and result.bundle == tmp_path / "v.edgekit"
    with Bundle.open(result.bundle) as bundle:
        assert bundle.manifest.labels == ("0", "1") and bundle.manifest.specification.input[0]["step"] == "normalize"


def test_a_sensor_regression_answers_in_the_unit_of_its_labels(tmp_path):
    config = TrainConfig("sensor", epochs=12, rate=2e-2, batch=16, augment=False, options={"width": 8, "layers": 2})
    found = train(TrainPlan(windows(tmp_path / "w.npz", numbers=True), config, str(tmp_path / "run")))
    assert found.evaluation.metrics["r2"] > 0.5 and abs(found.evaluation.scores.mean() - 507) < 10


def test_a_row_of_readings_takes_dense_layers(tmp_path):
    random = np.random.default_rng(0)
    x = random.normal(size=(200, 6)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", x=x, y=(x[:, 0] + x[:, 3] > 0).astype(int))
    config = TrainConfig("sensor", epochs=15, rate=2e-2, options={"width": 16, "layers": 1})
    found = train(TrainPlan(str(tmp_path / "rows.npz"), config, str(tmp_path / "run")))
    assert found.evaluation.metrics["accuracy"] > 0.8


def test_two_processes_share_the_work_and_one_of_them_the_run_folder(tmp_path):
    words = ["--task", "sensor", "--data", windows(tmp_path / "w.npz"), "--epochs", "2", "--devices", "2", "--json"]
    done = subprocess.run([sys.executable, "-m", "edgekit", "train", *words, "--output", str(tmp_path / "run")],
                          capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run"] == str(tmp_path / "run") and done.stderr.count("✓ train") == 1
    rows = (tmp_path / "run/log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "1", "2"]


def test_whoever_watches_may_end_it_and_the_best_epoch_is_kept(tmp_path):
    class Enough(Watch):
        def epoch(self, number, of, metrics):
            return number < 2

    config = TrainConfig("sensor", epochs=9, options={"width": 4, "layers": 1})
    found = train(TrainPlan(windows(tmp_path / "w.npz"), config, str(tmp_path / "run")), watch=Enough())
    assert found.trained.best_epoch <= 2 and len((tmp_path / "run/log.csv").read_text().splitlines()) == 3


def test_a_loss_that_is_not_finite_names_its_batch(tmp_path):
    config = TrainConfig("sensor", epochs=3, rate=1e30, batch=4, options={"width": 4, "layers": 1})
    with pytest.raises(TrainingError, match=r"not finite in epoch 1, at the batch of samples x\[\d+\], x\["):
        train(TrainPlan(windows(tmp_path / "w.npz"), config, str(tmp_path / "run")))


def test_keywords_from_wav_files(tmp_path):
    import wave

    random = np.random.default_rng(0)
    for kind, pitch in (("low", 300), ("high", 1500)):
        for number in range(24):
            tone = np.sin(np.arange(8000) * 2 * np.pi * pitch * random.uniform(0.9, 1.1) / 8000) * random.uniform(
                0.1, 0.8
            )
            place = tmp_path / "tones" / kind / f"{number}.wav"
            place.parent.mkdir(parents=True, exist_ok=True)
            with wave.open(str(place), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(8000)
                file.writeframes(((tone + random.normal(size=8000) * 0.02) * 20000).astype("<i2").tobytes())
    config = TrainConfig("audio", epochs=8, rate=1e-2, batch=8, options={"channels": 8, "blocks": 1, "bins": 16})
    found = train(TrainPlan(str(tmp_path / "tones"), config, str(tmp_path / "run")))
    assert found.evaluation.metrics["accuracy"] > 0.8
    steps = json.loads((tmp_path / "run/specification.json").read_text())["input"]
    assert [s["step"] for s in steps] == ["waveform", "log_mel", "normalize", "reshape"] and steps[0]["rate"] == 8000


def test_a_transformer_of_a_folder_brings_its_own_pre_processing(tmp_path):
    from transformers import ViTConfig, ViTForImageClassification

    shape = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, patch_size=8,
                      image_size=32, num_labels=5)  # fmt: skip
    ViTForImageClassification(shape).save_pretrained(tmp_path / "vit")
    said = {"size": {"height": 32, "width": 32}, "resample": 3, "image_mean": [0.4] * 3, "image_std": [0.2] * 3}
    (tmp_path / "vit/preprocessor_config.json").write_text(json.dumps(said))
    config = TrainConfig("image", "huggingface", epochs=6, head_epochs=2, rate=1e-2, fine_rate=5e-3,
                         weights=str(tmp_path / "vit"))  # fmt: skip
    found = train(TrainPlan(pictures(tmp_path / "p.npz"), config, str(tmp_path / "run")))
    assert found.evaluation.metrics["accuracy"] > 0.8
    steps = json.loads((tmp_path / "run/specification.json").read_text())["input"]
    assert steps[1]["interpolation"] == "bicubic" and steps[3]["mean"] == [0.4] * 3
    from edgekit_converters.train.networks import load

    assert sum(p.numel() for p in load(tmp_path / "run").parameters()) > 1000
    with pytest.raises(MissingRequirement, match="hf download"):
        train(TrainPlan(str(tmp_path / "p.npz"), TrainConfig("image", "huggingface"), str(tmp_path / "none")))


def test_a_detector_learns_scenes_and_leaves_as_two_outputs(tmp_path):
    pytest.importorskip("pycocotools")
    from edgekit.data.scenes import compose

    compose(tmp_path / "scenes", 60, size=64, most=1)
    config = TrainConfig("detection", epochs=6, batch=8, rate=5e-3, options={"size": 64, "width": 8, "flip": False})
    found = train(TrainPlan(str(tmp_path / "scenes"), config, str(tmp_path / "run")))
    assert found.evaluation.samples == 6  # which so few scenes teach nothing; docs/figures.md has what a minute gives
    rows = [line.split(",") for line in (tmp_path / "run/log.csv").read_text().splitlines()]
    assert float(rows[-1][1]) < 0.8 * float(rows[1][1])
    plan = ExportPlan(str(tmp_path / "run"), "generic-cpu", data=str(tmp_path / "scenes"), quantize="fp32",
                      output=str(tmp_path / "d"))  # fmt: skip
    result = export(plan)
    with Bundle.open(result.bundle) as bundle:
        assert [o.name for o in bundle.manifest.outputs] == ["boxes", "scores"] and len(bundle.manifest.labels) == 10


def test_weights_that_cannot_be_downloaded_name_the_way_round(tmp_path):
    pytest.importorskip("tensorflow")
    words = ["--task", "image", "--data", pictures(tmp_path / "p.npz"), "--backbone", "mobilenet_v1_025_128"]
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", "train", *words, "--output", str(tmp_path / "run")],
        capture_output=True, text=True, check=False,
        env={**os.environ, "KERAS_HOME": str(tmp_path / "keras"), "https_proxy": "http://127.0.0.1:9"},
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    said = done.stderr.splitlines()[-1]
    assert "curl -LO https://" in said and "no_top.h5" in said and "--weights FILE" in said and "Traceback" not in said
