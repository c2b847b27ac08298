"""Any 64-bit Linux machine without an accelerator."""

from edgekit.targets.target import Target
from edgekit_converters.limits import TargetLimits

TARGET = Target(
    name="generic-cpu",
    title="any 64-bit Linux computer",
    # plain code of classic models is equal to its source and needs no interpreter; networks have none
    limits=TargetLimits(formats=("c", "onnx", "tflite"), precisions=("int8", "fp32"), max_opset=20, max_ir=10),
    backends={"tflite": ("litert", "tflite"), "onnx": ("onnx",), "c": ("plain",)},
    python=("3.9", "3.10", "3.11", "3.12", "3.13"),
    extra="onnx",
)
