"""`edgekit compress --max-drop 0.01` on eight networks of different kinds, as one table.

    EDGEKIT_ASSETS=… python benchmarks/contract.py [FOLDER] [NAME …]

What is trained here is trained in seconds to a few minutes, so that accuracies are not what these networks can reach: what
counts is the drop. `of float` is the median over turns of the chosen variant's time through float's, in the same run, on
this machine. FOLDER keeps models and attempts; what is there is not made again.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from trained import BACKBONE, ROOT, SHUFFLENET, assets

from edgekit import ExportPlan, open_dataset
from edgekit.contract.compress import CompressPlan, CompressResult, compress
from edgekit.contract.contract import Contract
from edgekit.demo import digits
from edgekit_runtime.plain import encode
from edgekit_runtime.specification import Specification
from edgekit_runtime.specification.presets import audio_specification, image_specification
from edgekit_runtime.specification.step import Context

MAX_DROP = 0.01
LIMIT = 400
SEED = 0
WORDS = ["down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes", "_silence_", "_unknown_"]
Settings = dict[str, Any]


# -- torch, trained here ----------------------------------------------------------------------------------------------


def fitted(path: Path, model: Any, x: np.ndarray, y: np.ndarray, epochs: int, rate: float = 2e-3,
           vary: Callable[[Any], Any] = lambda batch: batch) -> Path:  # fmt: skip
    """Train a module on arrays with Adam and one cycle, and save it as an exported program.

    `vary` makes another batch of a batch.
    """
    import torch

    torch.manual_seed(SEED)
    inputs, targets = torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y.astype(np.int64))
    batches = (len(x) + 63) // 64
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, epochs * batches)
    for _ in range(epochs):
        for some in torch.randperm(len(x)).split(64):
            loss = torch.nn.functional.cross_entropy(model(vary(inputs[some])), targets[some])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.eval()
    torch.export.save(torch.export.export(model, (inputs[:1].clone(),)), str(path))
    return path


def ds_cnn() -> Any:
    """Depthwise separable convolutions on 49 x 10 MFCCs (Zhang et al., "Hello Edge", 2017, the small one)."""
    from torch import nn

    def block(width: int) -> list[nn.Module]:
        return [nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
                nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]  # fmt: skip

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            first = [nn.Conv2d(1, 64, (10, 4), 2, (5, 1), bias=False), nn.BatchNorm2d(64), nn.ReLU()]
            self.body = nn.Sequential(*first, *(layer for _ in range(4) for layer in block(64)))
            self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(64, 12))

        def forward(self, x: Any) -> Any:
            return self.head(self.body(x.permute(0, 3, 1, 2)).mean((2, 3)))

    return Network()


def keywords(folder: Path) -> Settings:
    """60 wavs a word: 40 train and calibrate, 20 measure.

    The published network was trained on some 3,000 a word and has 0.90 on these. Here each of the 40 is heard 24 times
    at another speed, shifted, louder or softer, with noise of the silent ones under it.
    """
    origin = assets() / "data/speech_commands_test60"
    for word in WORDS:
        for number, file in enumerate(sorted((origin / word).iterdir())):
            place = folder / "wavs" / ("train" if number < 40 else "test") / word
            place.mkdir(parents=True, exist_ok=True)
            if not (place / file.name).exists():
                (place / file.name).symlink_to(file)
    model = folder / "ds_cnn.pt2"
    if not model.is_file():
        specification, data = audio_specification("kws-mfcc"), open_dataset(str(folder / "wavs"))
        heard = data.split("train")
        waves, labels = [wave_of(s.load()) for s in heard], np.array([s.label for s in heard])
        noise = np.concatenate([waves[i] for i in np.flatnonzero(labels == data.labels.index("_silence_"))])
        random = np.random.default_rng(SEED)
        spoken = [*waves, *(varied(w, noise, random) for _ in range(24 - 1) for w in waves)]
        x = np.stack([specification.preprocess(w, Context()) for w in spoken])
        fitted(model, ds_cnn(), x, np.tile(labels, 24), epochs=20, vary=masked)
    return {"model": str(model), "data": str(folder / "wavs"), "preprocess": "kws-mfcc"}


def wave_of(content: bytes) -> np.ndarray:
    """A second of a 16-bit wav in -1..1."""
    with wave.open(io.BytesIO(content)) as file:
        values = np.frombuffer(file.readframes(16_000), np.int16)
    return np.pad(values, (0, 16_000 - len(values))).astype(np.float32) / 32_768


def varied(given: np.ndarray, noise: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The same word at another speed, up to 0.1 s earlier or later, at another loudness, with noise under it."""
    count = len(given)
    read = np.interp(np.arange(0, count, random.uniform(0.88, 1.14))[:count], np.arange(count), given)
    padded = np.pad(read, (1600, count - len(read) + 1600))
    start, place = random.integers(3200), random.integers(len(noise) - count)
    loud = padded[start : start + count] * random.uniform(0.5, 1.6)
    return np.clip(loud + noise[place : place + count] * random.uniform(), -1, 1).astype(np.float32)


def masked(batch: Any) -> Any:
    """SpecAugment (Park et al. 2019): a stretch of time and of frequencies taken out, the same ones for a batch."""
    import torch

    batch = batch.clone()
    for axis, longest in ((1, 6), (2, 2)):
        length = int(torch.randint(longest + 1, ()))
        batch.narrow(axis, int(torch.randint(batch.shape[axis] - length + 1, ())), length).zero_()
    return batch


def sensors(folder: Path) -> Settings:
    """Gas sensor array drift: 16 sensors with 8 figures each, six gases; 800 of five batches measure."""
    from torch import nn

    data, model = folder / "gas.npz", folder / "gas.pt2"
    if not data.is_file():
        lines = [line for n in range(1, 6)
                 for line in (assets() / f"data/gas_drift/batch{n}.dat").read_text().splitlines() if line]  # fmt: skip
        rows = [line.split(",") for line in lines]
        gases = sorted({r[0] for r in rows})
        y = np.array([gases.index(r[0]) for r in rows])
        x = np.array([[float(v) for v in r[2:130]] for r in rows], np.float32).reshape(
            -1, 16, 8
        )  # r[1]: how much of it
        order = np.random.default_rng(SEED).permutation(len(x))
        x, y = x[order], y[order]
        x = ((x - x[:-800].mean(0)) / x[:-800].std(0)).clip(-6, 6)
        np.savez(data, x_train=x[:-800], y_train=y[:-800], x_test=x[-800:], y_test=y[-800:])
    if not model.is_file():
        layers: list[nn.Module] = []
        for inputs, outputs in ((8, 32), (32, 64), (64, 64)):
            layers += [nn.Conv1d(inputs, outputs, 3, padding=1), nn.BatchNorm1d(outputs), nn.ReLU()]

        class Network(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.body = nn.Sequential(*layers)
                self.head = nn.Linear(64, 6)

            def forward(self, x: Any) -> Any:
                return self.head(self.body(x.permute(0, 2, 1)).mean(2))

        with np.load(data) as arrays:
            fitted(model, Network(), arrays["x_train"], arrays["y_train"], epochs=25)
    return {"model": str(model), "data": str(data)}


def transformer(folder: Path) -> Settings:
    """A ViT of four layers of transformers on handwritten digits."""
    from torch import nn
    from transformers import ViTConfig, ViTForImageClassification

    data, model = tiny_pictures(folder), folder / "vit.pt2"
    if not model.is_file():
        config = ViTConfig(hidden_size=64, num_hidden_layers=4, num_attention_heads=4, intermediate_size=128,
                           image_size=32, patch_size=4, num_channels=1, num_labels=10)  # fmt: skip

        class Network(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.vit = ViTForImageClassification(config)

            def forward(self, x: Any) -> Any:
                return self.vit(x).logits

        with np.load(data) as arrays:
            x = arrays["x_train"].reshape(-1, 1, 32, 32) / 255
            fitted(model, Network(), x, arrays["y_train"], epochs=15)
    return {"model": str(model), "data": str(data), "preprocess": "0..1"}


def shufflenet(folder: Path) -> Settings:
    """ShuffleNetV2 with a logistic head on clothes, as the example makes it."""
    sys.path.insert(0, str(ROOT / "examples"))
    import shufflenetv2
    import torch
    from safetensors.torch import save_file

    clothes = str(assets() / "data/clothing_small_160")
    weights, steps = folder / "shufflenet.safetensors", folder / "shufflenet.json"
    if not weights.is_file():
        model = shufflenetv2.classifier().eval()
        model[0].load_state_dict(torch.load(assets() / SHUFFLENET, map_location="cpu", weights_only=True))
        shufflenetv2.fit(model, clothes)
        save_file(model.state_dict(), str(weights))
    steps.write_text(json.dumps(encode(shufflenetv2.SPECIFICATION.to_data())))
    return {"model": f"{ROOT}/examples/shufflenetv2.py:classifier", "weights": str(weights), "data": clothes,
            "input_shape": (-1, 3, 160, 160), "preprocess": str(steps)}  # fmt: skip


# -- Keras, trained in a process of its own ---------------------------------------------------------------------------

_TRANSFER = "import sys; sys.path.insert(0, sys.argv[4]); import keras_transfer as k; k.train(*sys.argv[1:4])"
_SMALL = """
import sys, numpy as np, keras
keras.utils.set_random_seed(0)
arrays = np.load(sys.argv[1])
x, y = arrays["x_train"].reshape(-1, 32, 32, 1) / 255.0, arrays["y_train"]
model = keras.applications.MobileNetV3Small((32, 32, 1), weights=None, classes=10, include_preprocessing=False)
for layer in model.layers:
    if isinstance(layer, keras.layers.BatchNormalization):
        layer.momentum = 0.9  # there are few steps
steps = 25 * (len(x) // 64)
rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
model.fit(x, y, batch_size=64, epochs=25, verbose=0)
model.save(sys.argv[2])
"""


def child(code: str, *arguments: object) -> None:
    """Run a program that imports TensorFlow."""
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True, capture_output=True)


def mobilenet(folder: Path) -> Settings:
    """MobileNetV1-0.25@128 with a logistic head on clothes, as the example makes it."""
    clothes, model = assets() / "data/clothing_small_160", folder / "clothes.keras"
    if not model.is_file():
        child(_TRANSFER, assets() / BACKBONE, clothes, model, ROOT / "examples")
    return {"model": str(model), "data": str(clothes), "preprocess": "0..255"}


def mobilenet_v3(folder: Path) -> Settings:
    """keras.applications' MobileNetV3-Small, from scratch on handwritten digits: hard swish and squeeze-and-excite."""
    data, model = tiny_pictures(folder), folder / "v3.keras"
    if not model.is_file():
        child(_SMALL, data, model)
    return {"model": str(model), "data": str(data), "preprocess": "0..1"}


def tiny_pictures(folder: Path) -> Path:
    """The demo's digits."""
    path = folder / "digits.npz"
    if not path.is_file():
        np.savez(path, **digits())
    return path


# -- as they are published: no labelled pictures, so agreement with float ---------------------------------------------


def loose(folder: Path) -> Path:
    """Pictures of clothes and the sample pictures, without labels."""
    place = folder / "loose"
    place.mkdir(exist_ok=True)
    files = [*(assets() / "data/clothing_small_160/test").rglob("*.jpg"), *(assets() / "data/pictures").glob("*.bmp")]
    files += sorted((assets() / "data/clothing_small_160/train").rglob("*.jpg"))[::8]
    for number, file in enumerate(sorted(files)):
        link = place / f"{number:04}-{file.name}"
        if not link.exists():
            link.symlink_to(file)
    return place


def wake_words(folder: Path) -> Settings:
    """MLPerf Tiny's visual wake words."""
    (folder / "wake.txt").write_text("nobody\nperson\n")
    return {"model": str(assets() / "models/vww_96/vww_96_float.tflite"), "data": str(loose(folder)),
            "preprocess": "0..1", "task": "classification", "labels": str(folder / "wake.txt")}  # fmt: skip


def detector(folder: Path) -> Settings:
    """FastestDet with its own pre- and post-processing."""
    output = [{"step": "grid_boxes"}, {"step": "nms", "score": 0.55}]
    steps: Specification = image_specification("0..1", 352, 352, layout="chw", colour="bgr", output=output)
    (folder / "detector.json").write_text(json.dumps(encode(steps.to_data())))
    return {"model": str(assets() / "models/fastestdet/FastestDet.onnx"), "data": str(loose(folder)),
            "preprocess": str(folder / "detector.json")}  # fmt: skip


NETWORKS: dict[str, Callable[[Path], Settings]] = {
    "DS-CNN, keywords": keywords,
    "VWW MobileNetV1": wake_words,
    "MobileNetV1, clothes": mobilenet,
    "ShuffleNetV2, clothes": shufflenet,
    "MobileNetV3-Small, digits": mobilenet_v3,
    "FastestDet": detector,
    "sensor CNN, gases": sensors,
    "ViT, digits": transformer,
}


def tried(name: str, folder: Path) -> CompressResult:
    """Compress one of them for a Pi 5."""
    short = name.partition(",")[0].replace(" ", "-")
    plan = ExportPlan(target="pi5", output=str(folder / f"{short}.edgekit"), overwrite=True, limit=LIMIT,
                      **NETWORKS[name](folder))  # fmt: skip
    return compress(CompressPlan(plan, Contract(MAX_DROP), str(folder / "work")))


def row(name: str, result: CompressResult) -> list[str]:
    """As printed."""
    chosen, floating = result.verdict.chosen, result.attempts[0]
    made, other = chosen.result, floating.result
    assert made and other and chosen.latency and made.drop is not None
    span = chosen.drop_interval
    return [name, result.metric, f"{other.variant.metrics[result.metric]:.4f}", chosen.rung, f"{made.drop:+.4f}",
            f"{span.low:+.3f} to {span.high:+.3f}" if span else "-", f"{chosen.latency.ratio:.2f}",
            f"{other.bytes / 1000:.0f} → {made.bytes / 1000:.0f}", str(len(result.attempts) - 1),
            "held" if result.verdict.held else "BROKEN"]  # fmt: skip


HEAD = ["network", "metric", "float", "chosen", "drop", "95 % interval", "of float", "KB", "rungs", "contract"]


def main(folder: Path, names: list[str]) -> None:
    """Print the table, and why where it is not the first rung."""
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}", flush=True)
    remarks = []
    for name in names or NETWORKS:
        result = tried(name, folder)
        print(f"| {' | '.join(row(name, result))} |", flush=True)
        if result.verdict.remark:
            remarks.append(f"{name}: {result.verdict.remark}")
    print("\n" + "\n".join(remarks))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    given = sys.argv[1:]
    if given:
        Path(given[0]).mkdir(parents=True, exist_ok=True)
        main(Path(given[0]), given[1:])
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary), [])
