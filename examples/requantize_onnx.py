"""Someone else's ONNX file, quantized for a Pi with your own calibration data.

    python examples/requantize_onnx.py model.onnx pictures.npz FOLDER

`pictures.npz` holds uint8 pictures `x_train`, `x_test` and labels `y_train`, `y_test`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from edgekit import ExportPlan, export


def main(model: str, data: str, folder: Path) -> None:
    result = export(
        ExportPlan(
            model=model,
            target="pi5",
            format="onnx",
            quantize="int8",
            data=data,
            preprocess="0..1",
            output=f"{folder}/requantized.edgekit",
            keep="all",
            overwrite=True,
        )
    )
    for made in result.variants:
        print(f"{made.variant.name}: {made.bytes / 1000:.0f} KB, drop {made.drop:+.4f}")
    print(f"bundle {result.bundle.name}, {result.digest[:12]}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
