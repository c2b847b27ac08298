"""Picture classifiers of the transformers library, from a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "mobilenet_v2": {"model_type": "mobilenet_v2"},
    "vit_tiny": {
        "model_type": "vit", "hidden_size": 128, "num_hidden_layers": 6, "num_attention_heads": 4,
        "intermediate_size": 256, "patch_size": 16,
    },
}  # fmt: skip
"""Configurations by name."""


class Pictures(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """(batch, 3, height, width) to (batch, classes) scores before softmax.

    Args:
        configuration: As the library's ``config.json``, with ``model_type``; classes by ``num_labels``.
        body: The network itself where it is there already, with pre-trained weights.
    """

    def __init__(self, configuration: Mapping[str, Any], body: Any = None) -> None:
        super().__init__()
        if body is None:
            from transformers import AutoConfig, AutoModelForImageClassification

            settings = dict(configuration)
            kind = settings.pop("model_type")
            body = AutoModelForImageClassification.from_config(AutoConfig.for_model(kind, **settings))
        body.set_attn_implementation("eager")  # the fused kernels have no form in ONNX and TFLite of their own
        self.body = body

    @property
    def backbone(self) -> Any:
        """Everything but the head."""
        return getattr(self.body, self.body.base_model_prefix)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        return self.body(pixel_values=picture, return_dict=True).logits
