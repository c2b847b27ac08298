"""Sensors: convolutions over a window of time, or dense layers over one row of readings."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from edgekit_converters.train.networks.layers import Head


class _Scaled(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """Head whose answer is in the unit of the labels: ``score * scale + offset``; 1 and 0 for classes."""

    def __init__(self, features: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.inner = Head(features, outputs, dropout)
        self.register_buffer("scale", torch.ones(1))
        self.register_buffer("offset", torch.zeros(1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.inner(features) * self.scale + self.offset


class Conv1d(nn.Module):  # type: ignore[misc]
    """(batch, time, channels) to (batch, outputs).

    Args:
        channels: Of a reading.
        outputs: Classes, or 1 for a regression.
        width: Channels of the first layer; each further layer has twice as many, at half the rate.
        layers: Convolutions.
        dropout: Share of features dropped in training.
    """

    def __init__(self, channels: int, outputs: int, width: int = 16, layers: int = 3, dropout: float = 0.1) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for inputs, made in pairwise([channels, *(width << i for i in range(layers))]):
            parts += [nn.Conv1d(inputs, made, 5, 2 if parts else 1, 2, bias=False), nn.BatchNorm1d(made), nn.ReLU()]
        self.backbone = nn.Sequential(*parts)
        self.head = _Scaled(width << (layers - 1), outputs, dropout)

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(window.transpose(1, 2)).mean(2))


class Mlp(nn.Module):  # type: ignore[misc]
    """(batch, features) to (batch, outputs).

    Args:
        channels: Features of a row.
        outputs: Classes, or 1 for a regression.
        width: Of the hidden layers.
        layers: Hidden layers.
        dropout: Share of features dropped in training.
    """

    def __init__(self, channels: int, outputs: int, width: int = 64, layers: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for inputs, made in pairwise([channels, *[width] * layers]):
            parts += [nn.Linear(inputs, made, bias=False), nn.BatchNorm1d(made), nn.ReLU()]
        self.backbone = nn.Sequential(*parts)
        self.head = _Scaled(width, outputs, dropout)

    def forward(self, row: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(row))
