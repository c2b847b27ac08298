"""JPEG to a 224 x 224 tensor: our specification against hand-written OpenCV code that does the same.

    python benchmarks/preprocessing.py

Both give the same numbers (checked to 1e-5). Tried: running the steps one by one in numpy (slower than OpenCV by the
float passes over the picture); one table look-up for all pointwise steps made by running them on 256 values (kept).
"""

from __future__ import annotations

import cv2
import numpy as np
from side_by_side import side_by_side

from edgekit_runtime.specification.presets import image_specification
from edgekit_runtime.specification.step import Context

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def by_hand(jpeg: bytes, chw: bool) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    picture = cv2.resize(picture, (224, 224), interpolation=cv2.INTER_LINEAR_EXACT)
    picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    tensor = (picture.astype(np.float32) * np.float32(1 / 255) - MEAN) / STD
    return np.ascontiguousarray(tensor.transpose(2, 0, 1)) if chw else tensor


def main() -> None:
    smooth = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8), (0, 0), 3)
    jpeg = cv2.imencode(".jpg", smooth)[1].tobytes()
    for layout in ("hwc", "chw"):
        specification = image_specification("imagenet", 224, 224, layout=layout)
        chw = layout == "chw"
        difference = np.abs(specification.preprocess(jpeg, Context()) - by_hand(jpeg, chw)).max()
        assert difference < 1e-5, difference
        pair = side_by_side(lambda s=specification: s.preprocess(jpeg, Context()), lambda c=chw: by_hand(jpeg, c))
        print(f"{layout}: specification / hand-written OpenCV = {pair.ratio:.2f} (largest difference {difference:.1e})")


if __name__ == "__main__":
    main()
