"""Pre-processing that people name instead of writing out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekit_runtime.errors import UsageError
from edgekit_runtime.manifest import SpecificationData
from edgekit_runtime.specification.core import Specification

IMAGE_PRESETS: dict[str, tuple[dict[str, Any], ...]] = {
    "0..255": ({"step": "cast", "dtype": "float32"},),
    "0..1": ({"step": "scale", "factor": 1 / 255},),
    "-1..1": ({"step": "scale", "factor": 1 / 127.5, "offset": -1.0},),
    # mean and standard deviation of ImageNet in 0..1, as torchvision's classification presets have them
    "imagenet": (
        {"step": "scale", "factor": 1 / 255},
        {"step": "normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    ),
}


def image_specification(
    preset: str,
    height: int,
    width: int,
    *,
    layout: str = "hwc",
    colour: str = "rgb",
    interpolation: str = "bilinear",
    fit: str = "stretch",
    keep: float = 1.0,
    antialias: bool = False,
    output: Sequence[Mapping[str, Any]] = (),
) -> Specification:
    """Pictures: decode, resize, the preset's arithmetic, layout.

    Args:
        preset: One of `IMAGE_PRESETS`.
        height: Of the model's input, in pixels.
        width: Likewise.
        layout: ``hwc`` or ``chw``.
        colour: As step ``decode``.
        interpolation: As step ``resize``; likewise `fit`, `keep` and `antialias`.
        fit: ``stretch``, ``letterbox`` or ``crop``.
        keep: Share that stays of a cut.
        antialias: Whether to resize as Pillow does.
        output: Steps from the model's outputs to the answer, plain.

    Raises:
        UsageError: There is no such preset.
        SpecificationError: A setting makes no sense.
    """
    if preset not in IMAGE_PRESETS:
        raise UsageError(f"there is no picture preset {preset!r:.40}", f"there are {', '.join(IMAGE_PRESETS)}")
    resize = {
        "height": height,
        "width": width,
        "interpolation": interpolation,
        "fit": fit,
        "keep": float(keep),
        "antialias": antialias,
    }
    steps: list[dict[str, Any]] = [
        {"step": "decode", "colour": colour},
        {"step": "resize", **resize},
        *IMAGE_PRESETS[preset],
    ]
    if layout != "hwc":
        steps.append({"step": "layout", "order": layout})
    return Specification.from_data(SpecificationData("image", tuple(steps), tuple(output)))


AUDIO_PRESETS: dict[str, tuple[dict[str, Any], ...]] = {
    # MLPerf Tiny keyword spotting: one second at 16 kHz to 49 x 10 MFCCs
    "kws-mfcc": (
        {"step": "waveform", "rate": 16000, "samples": 16000, "peak": True},
        {"step": "mfcc"},
        {"step": "reshape", "shape": [49, 10, 1]},
    ),
}


def audio_specification(preset: str, output: Sequence[Mapping[str, Any]] = ()) -> Specification:
    """Sound by preset.

    Args:
        preset: One of `AUDIO_PRESETS`.
        output: Steps from the model's outputs to the answer, plain.

    Raises:
        UsageError: There is no such preset.
    """
    if preset not in AUDIO_PRESETS:
        raise UsageError(f"there is no sound preset {preset!r:.40}", f"there are {', '.join(AUDIO_PRESETS)}")
    return Specification.from_data(SpecificationData("audio", AUDIO_PRESETS[preset], tuple(output)))
