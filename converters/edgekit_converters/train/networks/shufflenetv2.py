"""ShuffleNet V2 (Ma et al. 2018), narrow, with the parameter names of FastestDet's pre-trained backbone."""

from __future__ import annotations

import torch
from torch import nn

from edgekit_converters.train.networks.layers import Head, conv, pooled

STAGES = ((4, 48), (8, 96), (4, 192))
"""Units and channels of stages 2, 3 and 4."""


class Unit(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """A unit (figure 3 c and d), the shuffle moved to its beginning.

    Splitting into even and odd channels is the paper's split into halves after the shuffle of the unit before.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        taken = inputs if stride == 2 else inputs // 2
        middle, made = outputs // 2, outputs - taken
        self.branch_main = nn.Sequential(
            *conv(taken, middle), nn.ReLU(), *conv(middle, middle, 3, stride, middle), *conv(middle, made), nn.ReLU()
        )
        if stride == 2:
            self.branch_proj = nn.Sequential(*conv(taken, taken, 3, 2, taken), *conv(taken, taken), nn.ReLU())
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.stride == 2:
            return torch.cat([self.branch_proj(x), self.branch_main(x)], 1)
        batch, channels, height, width = x.shape
        pairs = x.reshape(batch, channels // 2, 2, height, width)
        return torch.cat([pairs[:, :, 0], self.branch_main(pairs[:, :, 1])], 1)


class ShuffleNetV2(nn.Module):  # type: ignore[misc]
    """(batch, 3, height, width), BGR in 0..1, to features at strides 8, 16 and 32."""

    channels = tuple(outputs for _, outputs in STAGES)

    def __init__(self) -> None:
        super().__init__()
        self.first_conv = nn.Sequential(*conv(3, 24, 3, 2), nn.ReLU())
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = 24
        for number, (units, outputs) in enumerate(STAGES, start=2):
            first, rest = Unit(inputs, outputs, 2), [Unit(outputs, outputs, 1) for _ in range(units - 1)]
            setattr(self, f"stage{number}", nn.Sequential(first, *rest))
            inputs = outputs

    def forward(self, picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        eighth = self.stage2(self.maxpool(self.first_conv(picture)))
        sixteenth = self.stage3(eighth)
        return eighth, sixteenth, self.stage4(sixteenth)


class Classifier(nn.Module):  # type: ignore[misc]
    """(batch, 3, height, width), BGR in 0..1, to (batch, classes) scores before softmax."""

    def __init__(self, classes: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.backbone = ShuffleNetV2()
        self.head = Head(STAGES[-1][1], classes, dropout)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        return self.head(pooled(self.backbone(picture)[-1]))
