"""JPEG to a 224 x 224 tensor: our specification against hand-written OpenCV code that does the same.

Then the same for a quantized model, from the JPEG and from a camera's picture: to int8 in one pass (what `Runtime` does)
against hand-written code and against preparing floats first and quantizing them.

    python benchmarks/preprocessing.py

Both give the same numbers (checked to 1e-5). Tried: running the steps one by one in numpy (slower than OpenCV by the
float passes over the picture); one table look-up for all pointwise steps made by running them on 256 values (kept).
"""

from __future__ import annotations

import cv2
import numpy as np
from side_by_side import side_by_side

from edgekit_runtime.backends import FileTensor
from edgekit_runtime.binding import feeder
from edgekit_runtime.manifest import Binding, TensorInfo
from edgekit_runtime.shortcut import shortcut
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


SCALE, ZERO = 0.0187, -14


def by_hand_int8(jpeg: bytes) -> np.ndarray:
    quantized = np.rint(by_hand(jpeg, False) * np.float32(1 / SCALE)) + ZERO
    return np.clip(quantized, -128, 127).astype(np.int8)[None]


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
    whole_numbers(jpeg)


def whole_numbers(jpeg: bytes) -> None:
    picture = cv2.cvtColor(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    last = (1, 224, 224, 3)
    for layout, turned in (("hwc", False), ("chw", True)):
        shape = last if layout == "hwc" else (1, 3, 224, 224)
        info = TensorInfo("x", shape)
        binding = Binding("x", "x", last, "int8", SCALE, ZERO, (0, 2, 3, 1) if turned else ())
        specification = image_specification("imagenet", 224, 224, layout=layout)
        quantize = feeder(info, binding, FileTensor("x", last, "int8", SCALE, ZERO))
        one_pass = shortcut(specification, info, binding)

        def two_steps(raw, s=specification, q=quantize) -> np.ndarray:
            return q(s.preprocess(raw, Context())[None])

        assert np.array_equal(one_pass(jpeg, Context()), two_steps(jpeg))
        off = np.abs(one_pass(jpeg, Context()).astype(int) - by_hand_int8(jpeg)).max()
        assert off <= 1, off  # ties of float arithmetic in another order
        name = f"int8, {layout}{' to a file with channels last' if turned else ''}"
        pair = side_by_side(lambda o=one_pass: o(jpeg, Context()), lambda: by_hand_int8(jpeg))
        print(f"{name}: one pass / hand-written OpenCV = {pair.ratio:.2f}")
        for what, raw in (("JPEG", jpeg), ("camera picture", picture)):
            pair = side_by_side(lambda o=one_pass, r=raw: o(r, Context()), lambda t=two_steps, r=raw: t(r))
            print(
                f"{name}, {what}: one pass / two steps = {pair.ratio:.2f} ({(pair.theirs - pair.ours) * 1e6:.0f} us less)"
            )


if __name__ == "__main__":
    main()
