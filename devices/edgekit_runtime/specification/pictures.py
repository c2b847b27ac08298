"""Encoded pictures to uint8 arrays, the same whichever decoder there is: OpenCV, else Pillow, else numpy and zlib.

Size, orientation and truncation are read from the file here (`picture_header`), not left to the decoder. PNG and BMP
decode to equal bytes everywhere; JPEG where the decoders are built on the same libjpeg-turbo, else within its rounding.
Alpha is dropped, 16 bits become their high 8.
"""

from __future__ import annotations

import io
import sys
import warnings
from typing import Any

import numpy as np

from edgekit_runtime.errors import MissingRequirement, SpecificationError
from edgekit_runtime.specification.picture_header import read_header
from edgekit_runtime.specification.picture_plain import decode_bmp, decode_png
from edgekit_runtime.specification.raw import read_raw

MAX_PIXELS = 100_000_000
"""Pictures larger than this are refused before they are decoded (decompression bombs)."""

COLOURS = ("rgb", "bgr", "gray")
_LUMA = (9798, 19235, 3735)  # ITU-R BT.601 in 1/32768, as OpenCV's cvtColor
_EXIF_ORIENTATION = 0x0112


def decode_picture(raw: Any, colour: str = "rgb") -> np.ndarray:
    """A picture as uint8, (height, width, 3), or (height, width, 1) for gray; EXIF orientation applied.

    Args:
        raw: Encoded bytes (JPEG, PNG, BMP), a path to them, a decoded uint8 array, (height, width, 3) in RGB or
            (height, width) in grey, or a Pillow image.
        colour: One of `COLOURS`; gray is BT.601 luma in the fixed-point arithmetic of OpenCV's ``cvtColor``.

    Raises:
        SpecificationError: Not a picture, truncated, or larger than `MAX_PIXELS`.
        MissingRequirement: There is no decoder on this machine.
    """
    if isinstance(raw, np.ndarray):
        return to_colour(_checked(raw), colour)
    pillow = sys.modules.get("PIL.Image")  # nobody can hold a Pillow image without having imported it
    if pillow is not None and isinstance(raw, pillow.Image):
        _refuse_size(raw.height, raw.width, "the picture")
        return to_colour(upright(_pillow_rgb(raw), raw.getexif().get(_EXIF_ORIENTATION, 1)), colour)
    content, where = read_raw(raw, "picture")
    header = read_header(content, where)
    _refuse_size(header.height, header.width, where)
    try:
        import cv2
    except ImportError:
        picture = _without_opencv(content, header.form, where)
    else:
        if colour == "bgr":  # spares turning the colours twice
            return upright(by_opencv(cv2, content, where, bgr=True), header.orientation)
        picture = by_opencv(cv2, content, where)
    return to_colour(upright(picture, header.orientation), colour)


def _refuse_size(height: int, width: int, where: str) -> None:
    if height * width == 0:
        raise SpecificationError(f"{where} has no pixels")
    if height * width > MAX_PIXELS:
        raise SpecificationError(f"{where} has {width} x {height} pixels, more than {MAX_PIXELS:,}")


def _checked(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3)):
        raise SpecificationError(
            f"a decoded picture must be uint8 (height, width, 3) in RGB, not {array.dtype} {array.shape}"
        )
    _refuse_size(array.shape[0], array.shape[1], "the picture")
    if array.ndim == 2 or array.shape[2] == 1:
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    return array


def by_opencv(cv2: Any, content: bytes, where: str = "the picture", *, bgr: bool = False) -> np.ndarray:
    """Decode with OpenCV, as stored (no orientation)."""
    rgb_at_once = 0 if bgr else getattr(cv2, "IMREAD_COLOR_RGB", 0)  # OpenCV 4.11 and later
    flags = (rgb_at_once or cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error:
        picture = None
    if picture is None:
        raise SpecificationError(f"{where} cannot be decoded; it is corrupt")
    return np.asarray(picture if bgr or rgb_at_once else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))


def _without_opencv(content: bytes, form: str, where: str) -> np.ndarray:
    try:
        import PIL.Image  # noqa: F401 - asks whether Pillow is there
    except ImportError:
        pass
    else:
        return by_pillow(content, where)
    plain = {"png": decode_png, "bmp": decode_bmp}.get(form)
    picture = plain(content, where) if plain else None
    if picture is None:
        raise MissingRequirement(
            f"decoding this kind of {form.upper()} file needs OpenCV or Pillow, and neither is installed",
            'pip install "edgekit-runtime[camera]" or apt install python3-pil',
        )
    return picture


def by_pillow(content: bytes, where: str = "the picture") -> np.ndarray:
    """Decode with Pillow, as stored (no orientation)."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the size was checked
            with Image.open(io.BytesIO(content), formats=("JPEG", "MPO", "PNG", "BMP", "DIB")) as image:
                return _pillow_rgb(image)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise SpecificationError(f"{where} cannot be decoded; it is corrupt") from error


def _pillow_rgb(image: Any) -> np.ndarray:
    """A Pillow image as uint8 (height, width, 3), with the numbers OpenCV gives for the same file."""
    if image.mode.startswith("I"):  # 16 bits; convert("RGB") would clip them
        high = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(high[..., None], 3, axis=2)
    if image.mode == "CMYK":
        inks = np.asarray(image).astype(np.uint16)
        light = 255 - inks[..., 3:]
        return np.asarray(light - (inks[..., :3] * light >> 8), np.uint8)
    return np.array(image.convert("RGB"))


def upright(picture: np.ndarray, orientation: int) -> np.ndarray:
    """Turn a picture as its EXIF orientation (1 to 8) asks."""
    if orientation in (5, 6, 7, 8):
        picture = picture.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    return np.ascontiguousarray(picture)


def to_colour(picture: np.ndarray, colour: str) -> np.ndarray:
    """An RGB picture in another colour order, (height, width, 3) or, for gray, (height, width, 1)."""
    if colour == "bgr":
        return np.ascontiguousarray(picture[..., ::-1])
    if colour == "gray":
        # numpy 1 looks at a scalar's value, not its type: uint8 times a small np.uint32 would be uint16 and wrap
        red, green, blue = (picture[..., c].astype(np.uint32) * np.uint32(w) for c, w in enumerate(_LUMA))
        return np.asarray((red + green + blue + np.uint32(16384)) >> np.uint32(15), np.uint8)[..., None]
    return picture
