"""Layers that several networks are made of."""

from __future__ import annotations

import torch
from torch import nn


def conv(inputs: int, outputs: int, size: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Convolution that keeps the extent at stride 1, and its batch norm."""
    return [nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)]


def separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Depthwise 3 x 3 and pointwise convolution, each with batch norm and ReLU (MobileNet, Howard et al. 2017)."""
    return nn.Sequential(*conv(inputs, inputs, 3, stride, inputs), nn.ReLU(), *conv(inputs, outputs), nn.ReLU())


class Head(nn.Sequential):  # type: ignore[misc]  # torch is untyped here
    """Features to scores, some features dropped in training."""

    def __init__(self, features: int, scores: int, dropout: float) -> None:
        super().__init__(nn.Dropout(dropout), nn.Linear(features, scores))


def pooled(features: torch.Tensor) -> torch.Tensor:
    """(batch, channels, height, width) to (batch, channels)."""
    return features.mean((2, 3))
