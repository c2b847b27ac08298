"""Backbones for pictures by name; what they are called in their library, and how they want their pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgekit_converters.errors import UsageError


@dataclass(frozen=True)
class Backbone:
    """One network without its head.

    Attributes:
        framework: ``keras`` or ``torch``.
        maker: Name in ``keras.applications``, or in `networks.NETWORKS`.
        size: Side of its picture in pixels, unless ``--option size=`` says otherwise.
        preset: How pixels reach it, a name of `edgekit_runtime`'s picture presets.
        options: Arguments of its maker.
        words: What it is, for people.
        pretrained: Whether its library offers weights for download.
    """

    framework: str
    maker: str
    size: int
    preset: str
    options: Mapping[str, Any] = field(default_factory=dict)
    words: str = ""
    pretrained: bool = True


def _keras(maker: str, size: int, preset: str, words: str, **options: Any) -> Backbone:
    return Backbone("keras", maker, size, preset, options, words)


BACKBONES = {
    "mobilenet_v2": _keras("MobileNetV2", 224, "-1..1", "3.5 M parameters, 300 M multiplications"),
    "mobilenet_v1_025_128": _keras("MobileNet", 128, "-1..1", "0.2 M parameters, 14 M multiplications", alpha=0.25),
    "mobilenet_v1_050_160": _keras("MobileNet", 160, "-1..1", "0.8 M parameters, 77 M multiplications", alpha=0.5),
    "mobilenet_v1_100_224": _keras("MobileNet", 224, "-1..1", "3.2 M parameters, 570 M multiplications"),
    "mobilenet_v2_035_96": _keras("MobileNetV2", 96, "-1..1", "0.4 M parameters, 11 M multiplications", alpha=0.35),
    "mobilenet_v2_050_160": _keras("MobileNetV2", 160, "-1..1", "0.7 M parameters, 50 M multiplications", alpha=0.5),
    "mobilenet_v3_small": _keras("MobileNetV3Small", 224, "0..255", "0.9 M parameters; hard-swish"),
    "mobilenet_v3_small_minimalistic": _keras(
        "MobileNetV3Small", 224, "0..255", "0.4 M parameters; ReLU, for int8", minimalistic=True
    ),
    "mobilenet_v3_large": _keras("MobileNetV3Large", 224, "0..255", "3 M parameters; hard-swish"),
    "efficientnet_b0": _keras("EfficientNetB0", 224, "0..255", "4 M parameters; swish"),
    "efficientnet_v2_b0": _keras("EfficientNetV2B0", 224, "0..255", "5.9 M parameters; swish"),
    "keras-file": Backbone("keras", "", 0, "0..255", {}, "a .keras file of your own that gives features", False),
    "shufflenet_v2": Backbone("torch", "shufflenet_v2", 160, "0..255", {}, "0.15 M parameters", False),
    "mobilenet_v2_torch": Backbone(
        "torch", "huggingface", 224, "-1..1", {"architecture": "mobilenet_v2"}, "3.5 M parameters", False
    ),
    "vit_tiny": Backbone(
        "torch", "huggingface", 96, "-1..1", {"architecture": "vit_tiny"}, "a small vision transformer", False
    ),
    "huggingface": Backbone("torch", "huggingface", 0, "", {}, "a folder of transformers' vision models", False),
}
"""The first one is the default."""


def backbone(name: str, framework: str | None) -> Backbone:
    """By name.

    Raises:
        UsageError: There is none of that name, or not in that framework.
    """
    if name not in BACKBONES:
        raise UsageError(f"there is no backbone {name!r:.60} for pictures", f"there are {', '.join(BACKBONES)}")
    found = BACKBONES[name]
    if framework not in (None, found.framework):
        same = [n for n, b in BACKBONES.items() if b.framework == framework]
        raise UsageError(
            f"the backbone {name} is a {found.framework} one", f"in {framework} there are {', '.join(same)}"
        )
    return found
