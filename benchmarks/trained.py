"""What the benchmarks of whole exports start from: the real assets, and classifiers trained on them by the examples."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from edgekit_runtime import Bundle

ROOT = Path(__file__).parents[1]
BACKBONE = "models/mobilenet_v1_025_128_imagenet_float/mobilenet_v1_025_128_imagenet_float.keras"
SHUFFLENET = "models/shufflenetv2_torch/shufflenetv2.pth"


def assets() -> Path:
    """Folder of the real models and data, as the tests find it."""
    folder = os.environ.get("EDGEKIT_ASSETS")
    if not folder or not (Path(folder) / "index.json").is_file():
        sys.exit("set EDGEKIT_ASSETS to the folder of the real models and data; it holds an index.json")
    return Path(folder).resolve()


def link(origin: Path, split: str, folder: Path) -> Path:
    """`folder/split/CLASS/` with links to the files of every class folder of `origin`."""
    for kind in sorted(p for p in origin.iterdir() if p.is_dir()):
        place = folder / split / kind.name
        place.mkdir(parents=True, exist_ok=True)
        for file in kind.iterdir():
            if not (place / file.name).exists():
                (place / file.name).symlink_to(file)
    return folder


def example(name: str, *arguments: object) -> str:
    """Run an example; what it printed."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"examples/{name} failed: {done.stderr[-2000:]}")
    return done.stdout


def keras_classifier(folder: Path) -> Path:
    """Folder with classifier.keras, classifier.tflite and classifier.edgekit, made once: MobileNetV1-0.25 on clothes."""
    made = folder / "mobilenet"
    if not (made / "classifier.tflite").is_file():
        made.mkdir(parents=True, exist_ok=True)
        example("keras_transfer.py", assets() / BACKBONE, assets() / "data/clothing_small_160", made)
        with Bundle.open(made / "classifier.edgekit") as bundle:
            (made / "classifier.tflite").write_bytes(bundle.read("models/tflite-fp32.tflite"))
    return made


def torch_classifier(folder: Path) -> Path:
    """Folder with classifier.safetensors, preprocess.json and bundles, made once: ShuffleNetV2 on clothes."""
    made = folder / "shufflenet"
    if not (made / "pi.edgekit").is_file():
        made.mkdir(parents=True, exist_ok=True)
        example("shufflenetv2.py", assets() / SHUFFLENET, assets() / "data/clothing_small_160", made)
    return made
