"""A Keras picture classifier to a Raspberry Pi: train, export, and answer as the camera's program will.

    python examples/keras_to_pi.py FOLDER

On the Pi: `pip install "edgekit-runtime[litert,camera]"`, and the last lines of this file with pictures of the camera
(`cv2.VideoCapture(0).read()[1][..., ::-1]` is an RGB picture).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from edgekit import ExportPlan, Runtime, export
from edgekit.demo import digits

# TensorFlow gets a process of its own, as it does inside edgekit
TRAIN = """
import sys
import keras, numpy as np

keras.utils.set_random_seed(0)
data = np.load(sys.argv[1])
layers = [keras.layers.Input((32, 32, 1))]
for width in (16, 32, 64):
    layers += [keras.layers.Conv2D(width, 3, 2, padding="same", use_bias=False), keras.layers.BatchNormalization(),
               keras.layers.ReLU()]
layers += [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(10, activation="softmax")]
model = keras.Sequential(layers)
model.compile("adam", "sparse_categorical_crossentropy")
model.fit(data["x_train"][..., None] / 255.0, data["y_train"], epochs=12, batch_size=32, verbose=0)
model.save(sys.argv[2])
"""


def main(folder: Path) -> None:
    arrays = digits()
    np.savez(folder / "digits.npz", **arrays)
    (folder / "train.py").write_text(TRAIN)
    files = [str(folder / "digits.npz"), str(folder / "digits.keras")]
    subprocess.run([sys.executable, str(folder / "train.py"), *files], check=True)
    result = export(
        ExportPlan(
            model=files[1],
            target="pi",
            data=files[0],
            preprocess="0..1",
            output=f"{folder}/digits.edgekit",
            overwrite=True,
        )
    )
    print(f"float {result.source.metrics['accuracy']:.3f}, {result.choice.name} ", end="")
    print(f"{result.manifest.variant().metrics['accuracy']:.3f}")
    with Runtime.open(result.bundle) as camera:
        for picture, truth in zip(arrays["x_test"][:3], arrays["y_test"][:3], strict=True):
            print(f"saw {camera(picture)[0].label}, was {truth}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
