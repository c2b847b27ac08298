"""A frozen Keras backbone with a head for your own pictures, exported to a Pi by the command line.

    python examples/keras_transfer.py backbone.keras PICTURES FOLDER

`backbone.keras` takes pictures in 0..255 and gives features. `PICTURES` holds `train` and `test` folders with one
folder a class.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from edgekit import open_dataset
from edgekit_runtime.specification.presets import image_specification
from edgekit_runtime.specification.step import Context


def train(backbone: str, pictures: str, target: Path) -> None:
    """Logistic regression on the features of the training pictures, saved as the last layer of one model."""
    import keras
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    frozen = keras.models.load_model(backbone, compile=False)
    height, width = frozen.input_shape[1:3]
    specification = image_specification("0..255", height, width)
    data = open_dataset(pictures)
    samples = data.split("train")
    inputs = np.stack([specification.preprocess(s.load(), Context()) for s in samples])
    scaler = StandardScaler()
    features = scaler.fit_transform(frozen.predict(inputs, batch_size=64, verbose=0))
    found = LogisticRegression(C=0.01, max_iter=500).fit(features, [s.label for s in samples])
    head = keras.layers.Dense(len(data.labels), activation="softmax", name="clothes")
    model = keras.Model(frozen.input, head(frozen.output))
    weight = found.coef_ / scaler.scale_  # the scaling becomes part of the layer
    head.set_weights([weight.T, found.intercept_ - weight @ scaler.mean_])
    model.save(target)


def main(backbone: str, pictures: str, folder: Path) -> None:
    train(backbone, pictures, folder / "classifier.keras")
    arguments = [str(folder / "classifier.keras"), "--target", "pi", "--data", pictures, "--preprocess", "0..255",
                 "--max-drop", "0.03", "--keep", "all", "--output", str(folder / "classifier.edgekit"),
                 "--overwrite"]  # fmt: skip
    subprocess.run([sys.executable, "-m", "edgekit", "export", *arguments], check=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
