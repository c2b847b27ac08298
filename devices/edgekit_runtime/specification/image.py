"""Picture steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Union

import numpy as np

from edgekit_runtime.errors import SpecificationError
from edgekit_runtime.specification.pictures import COLOURS, MAX_PIXELS, decode_picture
from edgekit_runtime.specification.resampling import INTERPOLATIONS, resize
from edgekit_runtime.specification.step import Context, Step

_MAX_EXTENT = 8192
_FITS = ("stretch", "letterbox", "crop")


@dataclass(frozen=True)
class Decode(Step):
    """Encoded picture to uint8 (height, width, channels), upright as its EXIF orientation says.

    Attributes:
        colour: Colour order that comes out: ``rgb``, ``bgr`` or ``gray`` (one channel, BT.601).
    """

    name = "decode"
    colour: str = "rgb"

    def __post_init__(self) -> None:
        if self.colour not in COLOURS:
            raise ValueError(f"colour must be one of {', '.join(COLOURS)}, not {self.colour!r:.40}")

    def __call__(self, value: Any, context: Context) -> np.ndarray:
        picture = decode_picture(value, self.colour)
        context.picture = (picture.shape[0], picture.shape[1])
        context.input_size = context.picture
        return picture


@dataclass(frozen=True)
class Resize(Step):
    """Picture, uint8 or float32, to a fixed size.

    Attributes:
        height: In pixels.
        width: In pixels.
        interpolation: ``nearest``, ``bilinear``, ``bicubic`` or ``area``; half-pixel centres, as OpenCV.
        fit: ``stretch`` ignores the aspect, ``letterbox`` keeps all and pads, ``crop`` fills and cuts the centre.
        pad: Grey level of letterbox bars, or one level per channel.
        keep: With ``crop``, the share of the resized picture's shorter side that stays: 0.875 resizes to 256 and cuts
            out 224, as torchvision's classification presets do, with their rounding.
        antialias: With ``bilinear`` and ``bicubic``, resize as Pillow does (torchvision on pictures, most PyTorch
            training), which blurs before it shrinks; OpenCV and ``tf.image.resize`` by default do not.
    """

    name = "resize"
    height: int = 224
    width: int = 224
    interpolation: str = "bilinear"
    fit: str = "stretch"
    pad: Union[int, tuple[int, ...]] = 114
    keep: float = 1.0
    antialias: bool = False

    def __post_init__(self) -> None:
        if not (0 < self.height <= _MAX_EXTENT and 0 < self.width <= _MAX_EXTENT):
            raise ValueError(f"size {self.height} x {self.width} is outside 1 to {_MAX_EXTENT}")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"interpolation must be one of {', '.join(INTERPOLATIONS)}, not {self.interpolation!r:.40}"
            )
        if self.fit not in _FITS:
            raise ValueError(f"fit must be one of {', '.join(_FITS)}, not {self.fit!r:.40}")
        levels = (self.pad,) if isinstance(self.pad, int) else self.pad
        if len(levels) not in (1, 3) or not all(0 <= level <= 255 for level in levels):
            raise ValueError("pad must be a grey level of 0 to 255, or one per channel")
        if not 0.1 <= self.keep <= 1 or (self.keep != 1 and self.fit != "crop"):
            raise ValueError("keep must be 0.1 to 1, and goes with fit crop alone")
        if self.antialias and self.interpolation not in ("bilinear", "bicubic"):
            raise ValueError(f"antialias does not go with {self.interpolation}")

    def __call__(self, value: Any, context: Context) -> np.ndarray:
        if not isinstance(value, np.ndarray) or value.ndim != 3 or value.size == 0:
            raise SpecificationError("step resize takes a picture; put step decode before it")
        if value.dtype not in (np.uint8, np.float32):
            raise SpecificationError(f"step resize takes a picture of uint8 or float32, not {value.dtype}")
        height, width = value.shape[:2]
        tall, wide = self._scaled_size(height, width)
        if tall * wide > MAX_PIXELS:
            raise SpecificationError(f"a picture of {width} x {height} is too elongated to be cut to this shape")
        scaled = resize(value, tall, wide, self.interpolation, antialias=self.antialias)
        top, left = self._margin(tall, self.height), self._margin(wide, self.width)
        context.input_size = (self.height, self.width)
        context.mapping = (width / wide, height / tall, float(left), float(top))
        if (tall, wide) == (self.height, self.width):
            return scaled
        if self.fit == "crop":
            return np.ascontiguousarray(scaled[-top : self.height - top, -left : self.width - left])
        framed = np.empty((self.height, self.width, value.shape[2]), value.dtype)
        try:
            framed[:] = self.pad
        except ValueError:
            raise SpecificationError(f"step resize pads 3 channels, the picture has {value.shape[2]}") from None
        framed[top : top + tall, left : left + wide] = scaled
        return framed

    def _scaled_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the whole picture once resized, before bars are added or edges are cut."""
        if self.fit == "stretch":
            return self.height, self.width
        by_height = self.height * width <= self.width * height  # height decides the scale of a letterbox
        if self.fit == "letterbox":
            if by_height:
                return self.height, max(round(self.height * width / height), 1)
            return max(round(self.width * height / width), 1), self.width
        if by_height:  # and width that of a cut
            wide = round(self.width / self.keep)
            return max(int(wide * height / width), self.height), wide
        tall = round(self.height / self.keep)
        return tall, max(int(tall * width / height), self.width)

    def _margin(self, inner: int, outer: int) -> int:
        """Pixels between the frame's edge and the resized picture's; not positive where edges are cut."""
        return -round((inner - outer) / 2) if self.fit == "crop" else (outer - inner) // 2
