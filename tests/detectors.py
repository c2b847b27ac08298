"""Detectors that always see the same boxes, as ONNX: what differs between two of them is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from edgekit.pipeline import export
from edgekit.plan import ExportPlan


def detector(path: Path, boxes: list[tuple[float, float, float, float]], classes: list[int], labels: int) -> Path:
    """A network of one picture (1, 3, 40, 80) that finds `boxes` (shares of it) of `classes`, each a little less sure."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    scores = np.zeros((1, len(boxes), labels), np.float32)
    for place, index in enumerate(classes):
        scores[0, place, index] = 0.9 - 0.1 * place
    constants = {
        "b": np.array([boxes], np.float32),
        "s": scores,
        "little": np.float32(0.002).reshape(()),
    }  # one that ignores its input is refused
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "little"], ["shift"]),
        helper.make_node("Add", ["b", "shift"], ["boxes"]),
        helper.make_node("Add", ["s", "shift"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 40, 80])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, len(boxes), 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, list(scores.shape)),
        ],
        [numpy_helper.from_array(v, n) for n, v in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def detector_bundle(folder: Path, name: str, data: Path, boxes, classes, labels: int = 2) -> Path:
    """The same, exported."""
    specification = {
        "kind": "image",
        "input": [
            {"step": "decode"},
            {"step": "resize", "height": 40, "width": 80},
            {"step": "scale", "factor": 1 / 255},
            {"step": "layout", "order": "chw"},
        ],
        "output": [{"step": "boxes"}, {"step": "nms"}],
    }
    (folder / "specification.json").write_text(json.dumps(specification))
    model = detector(folder / f"{name}.onnx", boxes, classes, labels)
    plan = ExportPlan(str(model), "generic-cpu", str(folder / name), str(data), quantize="fp32",
                      preprocess=str(folder / "specification.json"))  # fmt: skip
    return export(plan).bundle
