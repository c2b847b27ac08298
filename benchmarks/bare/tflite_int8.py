"""What one writes without edgekit: float TFLite to static int8. Arguments: model, folder of pictures, output."""

import sys
from pathlib import Path

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe

model, pictures, output = sys.argv[1:]
name = next(iter(Interpreter(model).get_signature_runner("serving_default").get_input_details()))
samples = []
for file in sorted(Path(pictures).glob("*/*.jpg")):
    picture = cv2.cvtColor(cv2.resize(cv2.imread(str(file)), (128, 128)), cv2.COLOR_BGR2RGB)
    samples.append({name: picture[None].astype(np.float32)})
made = quantizer.Quantizer(model, recipe.static_wi8_ai8())
ranges = made.calibrate({"serving_default": samples})
made.quantize(ranges).export_model(output, overwrite=True)
