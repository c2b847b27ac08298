"""TFLite files before and after ai-edge-quantizer: what it expects of them, and where their ends went."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit_converters.files import open_model
from edgekit_converters.recipe import Converted
from edgekit_runtime.backends import FileTensor
from edgekit_runtime.manifest import Binding

_KEY = "serving_default"


def prepare(path: Path, target: Path) -> Path:
    """The file itself, or a copy that the quantizer understands.

    It calibrates by signature, which old files do not have; and it reads the wide operator code only, where files of
    before 2020 have the narrow (deprecated) one: it would take every operator for an ADD and quantize nonsense.

    Args:
        path: The float model.
        target: Where the copy goes if one is needed.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    changed = not model.signatureDefs
    for code in model.operatorCodes:
        wide = max(code.builtinCode, code.deprecatedBuiltinCode)
        changed |= wide != code.builtinCode
        code.builtinCode = wide
    if not changed:
        return path
    if not model.signatureDefs:
        model.signatureDefs = [_signature(schema, model.subgraphs[0])]
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    target.write_bytes(bytes(builder.Output()))
    return target


def _signature(schema: Any, graph: Any) -> Any:
    """A signature whose arguments are called as the tensors are."""
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = _KEY, 0
    sides = []
    for indices in (graph.inputs, graph.outputs):
        entries = []
        for index in indices:
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = graph.tensors[index].name, index
            entries.append(entry)
        sides.append(entries)
    signature.inputs, signature.outputs = sides
    return signature


def arguments(path: Path) -> tuple[str, dict[str, str]]:
    """(key, tensor name to argument name) of a file's first signature."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    key = next(iter(interpreter.get_signature_list()))
    details = interpreter.get_signature_runner(key).get_input_details()
    return key, {str(d["name"]): argument for argument, d in details.items()}


def operators(path: Path) -> Counter[str]:
    """How often each built-in operator occurs in a file, all subgraphs together."""
    from ai_edge_litert import schema_py_generated as schema

    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    found: Counter[str] = Counter()
    for number in range(model.SubgraphsLength()):
        graph = model.Subgraphs(number)
        for place in range(graph.OperatorsLength()):
            code = model.OperatorCodes(graph.Operators(place).OpcodeIndex())
            found[names.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "CUSTOM")] += 1
    return found


def quantized_weights(path: Path) -> int:
    """How many constant tensors of a file hold whole numbers that stand for reals."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    return sum(
        t.quantization is not None
        and t.quantization.scale is not None
        and len(t.quantization.scale) > 0
        and model.buffers[t.buffer].data is not None
        for graph in model.subgraphs
        for t in graph.tensors
    )


def rebound(model: Converted, path: Path) -> Converted:
    """The model with `path` as its file: the quantizer may rename the ends and change their type, not their order."""
    before, after = open_model(model.path, "tflite"), open_model(path, "tflite")
    try:
        return replace(
            model,
            path=path,
            inputs=_rebound(model.inputs, before.inputs, after.inputs),
            outputs=_rebound(model.outputs, before.outputs, after.outputs),
        )
    finally:
        before.close()
        after.close()


def _rebound(
    bindings: tuple[Binding, ...], before: tuple[FileTensor, ...], after: tuple[FileTensor, ...]
) -> tuple[Binding, ...]:
    now = {old.name: new for old, new in zip(before, after, strict=True)}
    return tuple(
        replace(
            b,
            name=now[b.name].name,
            dtype=now[b.name].dtype,
            scale=now[b.name].scale,
            zero_point=now[b.name].zero_point,
        )
        for b in bindings
    )
