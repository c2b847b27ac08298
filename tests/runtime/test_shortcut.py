"""The one-pass way of a picture into a quantized file gives the bits of the two-step way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit_runtime.backends import FileTensor
from edgekit_runtime.binding import feeder
from edgekit_runtime.errors import BackendError, SpecificationError
from edgekit_runtime.manifest import Binding, SpecificationData, TensorInfo
from edgekit_runtime.shortcut import shortcut
from edgekit_runtime.specification import Specification
from edgekit_runtime.specification.presets import IMAGE_PRESETS, image_specification
from edgekit_runtime.specification.step import Context

HEIGHT, WIDTH = 6, 9


def ends(layout: str, channels: int, turned: bool, scale: float, zero: int, dtype: str) -> tuple[TensorInfo, Binding]:
    """The model's input in `layout`, and a file that has it the same way or with channels last."""
    last = (1, HEIGHT, WIDTH, channels)
    shape = last if layout == "hwc" else (1, channels, HEIGHT, WIDTH)
    transpose = (0, 2, 3, 1) if turned else ()
    return TensorInfo("x", shape), Binding("x", "x", last if turned else shape, dtype, scale, zero, transpose)


@settings(max_examples=150, deadline=None)
@given(
    preset=st.sampled_from(sorted(IMAGE_PRESETS)),
    layout=st.sampled_from(["hwc", "chw"]),
    turned=st.booleans(),
    colour=st.sampled_from(["rgb", "gray"]),
    scale=st.floats(1e-4, 4.0),
    dtype=st.sampled_from(["int8", "uint8"]),
    seed=st.integers(0, 2**16),
)
def test_bits_are_those_of_preprocessing_and_then_quantizing(preset, layout, turned, colour, scale, dtype, seed):
    if preset == "imagenet" and colour == "gray":
        colour = "bgr"  # its mean has three channels
    generator = np.random.default_rng(seed)
    picture = generator.integers(0, 256, (generator.integers(4, 20), generator.integers(4, 20), 3), np.uint8)
    limits = np.iinfo(dtype)
    zero = int(generator.integers(limits.min, limits.max + 1))
    channels = 1 if colour == "gray" else 3
    info, binding = ends(layout, channels, turned and layout == "chw", scale, zero, dtype)
    specification = image_specification(preset, HEIGHT, WIDTH, layout=layout, colour=colour)
    file = FileTensor("x", binding.shape, dtype, scale, zero)
    expected = feeder(info, binding, file)(np.asarray(specification.preprocess(picture, Context()))[None])
    found = shortcut(specification, info, binding)(picture, Context())
    assert found.dtype == expected.dtype and found.flags.c_contiguous
    assert np.array_equal(found, expected)


def test_only_quantized_pictures_take_it():
    picture, table = image_specification("0..1", HEIGHT, WIDTH), Specification(kind="tensor")
    info, whole = ends("hwc", 3, False, 0.1, 0, "int8")
    assert shortcut(picture, info, whole) is not None
    assert shortcut(table, info, whole) is None
    assert shortcut(picture, info, ends("hwc", 3, False, 0.0, 0, "float32")[1]) is None
    assert shortcut(picture, info, ends("hwc", 3, False, 0.1, 0, "int16")[1]) is None


def test_what_does_not_fit_is_said():
    info, binding = ends("hwc", 1, False, 0.1, 0, "int8")
    with pytest.raises(BackendError, match=r"'x' takes shape \(1, 6, 9, 1\), not \(1, 6, 9, 3\)"):
        shortcut(image_specification("0..1", HEIGHT, WIDTH), info, binding)(np.zeros((8, 8, 3), np.uint8), Context())
    scaled = Specification.from_data(SpecificationData("image", ({"step": "scale", "factor": 2.0},)))
    with pytest.raises(SpecificationError, match="NaN"):
        shortcut(scaled, info, binding)(np.full((HEIGHT, WIDTH, 1), np.nan, np.float32), Context())
