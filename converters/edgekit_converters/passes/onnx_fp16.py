"""Half precision for ONNX; inputs and outputs stay float32."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit_converters.files import versions
from edgekit_converters.passes.onnx_file import check_names, constants_only, tidy
from edgekit_converters.passes.outcome import new_file, recorded
from edgekit_converters.passes.refusals import refusals, require
from edgekit_converters.recipe import Converted, Pass, PassContext


@dataclass(frozen=True)
class OnnxFp16(Pass):
    """Weights and arithmetic in float16.

    Attributes:
        exclude: Names of nodes that stay float32.
    """

    name = "onnx-fp16"
    format = "onnx"
    exclude: tuple[str, ...] = ()

    def __call__(self, model: Converted, context: PassContext) -> Converted:
        """Apply."""
        require("onnx", "onnxruntime")
        import onnx
        from onnxruntime.transformers.float16 import convert_float_to_float16

        target = new_file(context, model, "onnx-fp16.onnx")
        with (
            refusals("onnxruntime's float16 converter"),
            tempfile.TemporaryDirectory(prefix="onnx-fp16-", dir=context.folder) as work,
        ):
            check_names(model.path, self.exclude)
            floating = onnx.load(str(model.path))
            constants_only(floating)
            half = convert_float_to_float16(floating, keep_io_types=True, node_block_list=list(self.exclude))
            written = Path(work) / "half.onnx"
            onnx.save(half, str(written))
            tidy(written, context.limits)
            written.replace(target)
        return recorded(self, replace(model, path=target, precision="fp16"), versions("onnx", "onnxruntime"))
