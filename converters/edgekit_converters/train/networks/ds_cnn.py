"""Keyword spotting: the depthwise separable network of "Hello Edge" (Zhang et al. 2017), on log-mel pictures."""

from __future__ import annotations

import torch
from torch import nn

from edgekit_converters.train.networks.layers import Head, pooled, separable


class DsCnn(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """(batch, 1, frames, bins) to (batch, classes) scores before softmax.

    Args:
        classes: How many classes.
        channels: Of every layer.
        blocks: Separable blocks.
        dropout: Share of features dropped in training.
    """

    def __init__(self, classes: int, channels: int = 64, blocks: int = 4, dropout: float = 0.2) -> None:
        super().__init__()
        first = [
            nn.Conv2d(1, channels, (10, 4), 2, (4, 1), bias=False), nn.BatchNorm2d(channels), nn.ReLU()
        ]  # fmt: skip
        self.backbone = nn.Sequential(*first, *(separable(channels, channels) for _ in range(blocks)))
        self.head = Head(channels, classes, dropout)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        return self.head(pooled(self.backbone(picture)))
