"""What one writes without edgekit: PyTorch to ONNX to static int8. Arguments: weights, folder of pictures, output."""

import importlib.util
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from safetensors.torch import load_file

weights, pictures, output = sys.argv[1:]
spec = importlib.util.spec_from_file_location("shufflenetv2", Path(__file__).parents[2] / "examples/shufflenetv2.py")
network = importlib.util.module_from_spec(spec)
spec.loader.exec_module(network)
model = network.classifier()
model.load_state_dict(load_file(weights))
model.eval()

batch = torch.export.Dim("batch", min=1)
program = torch.onnx.export(model, (torch.zeros(2, 3, 160, 160),), dynamo=True, opset_version=19,
                            dynamic_shapes=({0: batch},), verbose=False)  # fmt: skip
program.save(f"{output}.float.onnx")
name = program.model.graph.inputs[0].name


class Reader(CalibrationDataReader):
    def __init__(self):
        self.files = iter(sorted(Path(pictures).glob("*/*.jpg")))

    def get_next(self):
        file = next(self.files, None)
        if file is None:
            return None
        picture = cv2.resize(cv2.imread(str(file)), (160, 160))
        return {name: np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32) / 255}


quant_pre_process(f"{output}.float.onnx", f"{output}.prepared.onnx")
quantize_static(f"{output}.prepared.onnx", output, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
                extra_options={"ActivationSymmetric": True, "QuantizeBias": False})  # fmt: skip
