"""What our layer costs over the bare interpreter, on a model of one operation.

python benchmarks/runtime_overhead.py
"""

from __future__ import annotations

import numpy as np
from side_by_side import side_by_side

from edgekit_runtime.backends import backend
from edgekit_runtime.manifest import SCHEMA, Binding, Manifest, SourceInfo, SpecificationData, TensorInfo, Variant
from edgekit_runtime.runtime import Runtime


def main() -> None:
    x = np.ones((1, 4), np.float32)
    for name, format_ in (("litert", "tflite"), ("onnx", "onnx")):
        chosen = backend(name)
        variant = Variant(
            "v", format_, "fp32", "m", (Binding("x", "x", (1, 4)),), (Binding("y", "y", (1, 4)),), (name,)
        )
        manifest = Manifest(
            SCHEMA, "m", "generic-cpu", "none", (TensorInfo("x", (1, 4)),), (TensorInfo("y", (1, 4)),),
            SpecificationData("tensor"), (variant,), "v", SourceInfo("onnx", "m", "0"),
        )  # fmt: skip
        session = chosen.open(chosen.probe_model(), threads=1)
        runtime = Runtime(manifest, variant, chosen, session)
        if name == "litert":
            from ai_edge_litert.interpreter import Interpreter

            bare = Interpreter(model_content=chosen.probe_model(), num_threads=1)
            bare.allocate_tensors()
            i, o = bare.get_input_details()[0]["index"], bare.get_output_details()[0]["index"]

            def call(bare=bare, i=i, o=o) -> object:
                bare.set_tensor(i, x)
                bare.invoke()
                return bare.get_tensor(o)
        else:
            import onnxruntime as ort

            options = ort.SessionOptions()
            options.intra_op_num_threads = 1
            bare_session = ort.InferenceSession(chosen.probe_model(), options, providers=["CPUExecutionProvider"])

            def call(bare=bare_session) -> object:
                return bare.run(["y"], {"x": x})

        for what, ours in (("run", lambda r=runtime: r.run({"x": x})), ("call", lambda r=runtime: r(x[0]))):
            pair = side_by_side(ours, call, rounds=400, each=50)
            print(
                f"{name} {what}: {(pair.ours - pair.theirs) * 1e6:.1f} us over the bare interpreter "
                f"({pair.ours * 1e6:.1f} against {pair.theirs * 1e6:.1f})"
            )


if __name__ == "__main__":
    main()
