"""Dense networks written by hand, in both formats, as old as files in the wild are."""

from __future__ import annotations

import flatbuffers
import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper

LAYERS = 3
ONNX_WIDTH, TFLITE_WIDTH = 96, 128


def weights(seed: int, *shape: int) -> np.ndarray:
    fan_in = int(np.prod(shape[1:])) if len(shape) == 4 else shape[0]
    return (np.random.default_rng(seed).normal(size=shape) / np.sqrt(fan_in)).astype(np.float32)


def dense_onnx(rows: bool) -> onnx.ModelProto:
    """Three dense layers (weights dominate), biases as vectors or as rows; as old files are: opset 8, IR 3."""
    nodes, constants = [], []
    name = "x"
    for layer in range(LAYERS):
        constants.append(numpy_helper.from_array(weights(layer, ONNX_WIDTH, ONNX_WIDTH), f"w{layer}"))
        bias = np.linspace(-0.1, 0.1, ONNX_WIDTH, dtype=np.float32)
        constants.append(numpy_helper.from_array(bias[None] if rows else bias, f"b{layer}"))
        nodes.append(helper.make_node("Gemm", [name, f"w{layer}", f"b{layer}"], [f"g{layer}"], f"dense{layer}"))
        nodes.append(helper.make_node("Relu", [f"g{layer}"], [f"r{layer}"], f"relu{layer}"))
        name = f"r{layer}"
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, ONNX_WIDTH]) for n in ("x", name)]
    inputs = [ends[0]] + [helper.make_tensor_value_info(c.name, TensorProto.FLOAT, c.dims) for c in constants]
    graph = helper.make_graph(nodes, "dense", inputs, [ends[1]], constants)
    return helper.make_model(graph, ir_version=3, opset_imports=[helper.make_opsetid("", 8)])


def dense_tflite() -> bytes:
    """Three dense layers with ReLU, no signature, narrow op codes; the outputs of each have magnitudes from 0.02 to 2."""
    generator = np.random.default_rng(0)
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.description, model.buffers = 3, "dense", [schema.BufferT()]
    code = schema.OperatorCodeT()
    code.deprecatedBuiltinCode, code.builtinCode, code.version = schema.BuiltinOperator.FULLY_CONNECTED, 0, 1
    model.operatorCodes, graph.tensors, graph.operators = [code], [], []

    def tensor(name: str, shape: list[int], values: np.ndarray | None = None) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, shape, schema.TensorType.FLOAT32, 0
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(values.astype(np.float32).tobytes(), np.uint8)
            made.buffer = len(model.buffers)
            model.buffers.append(buffer)
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    now = tensor("x", [1, TFLITE_WIDTH])
    graph.inputs = [now]
    for layer in range(LAYERS):
        spread = np.geomspace(0.02, 2, TFLITE_WIDTH)[:, None]
        weights = tensor(
            f"w{layer}",
            [TFLITE_WIDTH, TFLITE_WIDTH],
            generator.normal(size=(TFLITE_WIDTH, TFLITE_WIDTH)) * spread / np.sqrt(TFLITE_WIDTH),
        )
        bias = tensor(f"b{layer}", [TFLITE_WIDTH], np.linspace(-0.01, 0.01, TFLITE_WIDTH))
        operator, options = schema.OperatorT(), schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU
        operator.opcodeIndex, operator.inputs = 0, [now, weights, bias]
        operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.FullyConnectedOptions, options
        now = tensor(f"layer{layer}", [1, TFLITE_WIDTH])
        operator.outputs = [now]
        graph.operators.append(operator)
    graph.outputs, graph.name, model.subgraphs = [now], "main", [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
