"""Train MobileNetV3-Small (hard-swish, squeeze and excitation) on scikit-learn's digits at 32 px, in a minute or two.

A process of its own: ``python benchmarks/quantization/hardswish.py FOLDER`` writes ``mobilenet_v3.keras`` and
``digits.npz`` (``train``, ``test`` as float32 pictures in 0..255, ``train_labels``, ``test_labels``).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

SIDE = 32


def digits() -> dict[str, np.ndarray]:
    """The 1,797 digits, every fourth for testing."""
    from sklearn.datasets import load_digits

    found = load_digits()
    pictures = np.repeat(np.repeat(found.images, SIDE // 8, 1), SIDE // 8, 2) * (255 / 16)
    pictures = np.repeat(pictures[..., None], 3, -1).astype(np.float32)
    held = np.arange(len(pictures)) % 4 == 0
    return {
        "train": pictures[~held],
        "train_labels": found.target[~held],
        "test": pictures[held],
        "test_labels": found.target[held],
    }


def train(folder: Path, epochs: int = 14) -> None:
    """Train and write."""
    import keras

    keras.utils.set_random_seed(0)
    data = digits()
    model = keras.applications.MobileNetV3Small(
        input_shape=(SIDE, SIDE, 3), weights=None, classes=10, dropout_rate=0.0, include_preprocessing=True
    )
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9  # the default of 0.999 is for millions of steps
    model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(
        data["train"], data["train_labels"], 64, epochs, verbose=2, validation_data=(data["test"], data["test_labels"])
    )
    model.save(folder / "mobilenet_v3.keras")
    np.savez_compressed(folder / "digits.npz", **data)


if __name__ == "__main__":
    train(Path(sys.argv[1]))
