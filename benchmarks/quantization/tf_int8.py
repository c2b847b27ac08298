"""TensorFlow's own int8, in a process of its own: ``tf_int8.py MODEL SAMPLES.npz OUT.tflite``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np


def main(model: str, samples: str, out: str) -> None:
    """`TFLiteConverter` with its default optimizations and a representative data set."""
    if model.endswith(".h5"):
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
        import tf_keras as keras
    else:
        import keras
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(keras.models.load_model(model, compile=False))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([row] for row in np.load(samples)["x"])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    Path(out).write_bytes(converter.convert())


if __name__ == "__main__":
    main(*sys.argv[1:])
