"""What one writes without edgekit: Keras to int8 TFLite. Arguments: model, folder of pictures, output."""

import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import cv2
import keras
import numpy as np
import tensorflow as tf

model, pictures, output = sys.argv[1:]


def samples():
    for file in sorted(Path(pictures).glob("*/*.jpg")):
        picture = cv2.cvtColor(cv2.resize(cv2.imread(str(file)), (128, 128)), cv2.COLOR_BGR2RGB)
        yield [picture[None].astype(np.float32)]


converter = tf.lite.TFLiteConverter.from_keras_model(keras.models.load_model(model, compile=False))
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = samples
Path(output).write_bytes(converter.convert())
