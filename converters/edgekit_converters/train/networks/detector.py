"""A compact detector without anchors, after FCOS (Tian et al. 2019): every place of two grids may claim an object."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from edgekit_converters.train.networks.layers import conv, separable
from edgekit_converters.train.networks.shufflenetv2 import ShuffleNetV2

STRIDES = (8, 16)
"""Pixels between the places of each grid."""

_RARE = 0.01  # what every place thinks of every class at first, so that the many empty ones do not drown the rest
_WEIGHT = 0.5  # of places with an object in the focal loss
_BOXES = 2.0  # of the boxes against the scores in the loss
_LARGEST = 4.0  # boxes reach at most exp(4) strides to each side


class _Small(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """Separable convolutions to features at strides 8 and 16."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.channels = (4 * width, 6 * width)
        self.stem = nn.Sequential(*conv(3, width, 3, 2), nn.ReLU(), separable(width, 2 * width, 2))
        self.eighth = nn.Sequential(separable(2 * width, 4 * width, 2), separable(4 * width, 4 * width))
        self.sixteenth = nn.Sequential(separable(4 * width, 6 * width, 2), separable(6 * width, 6 * width))

    def forward(self, picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        eighth = self.eighth(self.stem(picture))
        return eighth, self.sixteenth(eighth)


class Detector(nn.Module):  # type: ignore[misc]
    """(batch, 3, side, side) to boxes (batch, places, 4) in shares of the side and scores (batch, places, classes).

    In training it gives scores before the sigmoid and boxes in pixels, as `places` has them.

    Args:
        classes: How many classes.
        size: Side of the picture in pixels, a multiple of 16.
        backbone: ``small`` or ``shufflenet_v2``.
        width: Of ``small``, and of the head in 4s.
    """

    def __init__(self, classes: int, size: int, backbone: str = "small", width: int = 16) -> None:
        super().__init__()
        if size % STRIDES[-1]:
            raise ValueError(f"size {size} is not a multiple of {STRIDES[-1]}")
        if backbone not in ("small", "shufflenet_v2"):
            raise ValueError(f"there is no backbone {backbone}")
        self.size = size
        self.backbone = ShuffleNetV2() if backbone == "shufflenet_v2" else _Small(width)
        middle = 4 * width
        self.lateral = nn.ModuleList(nn.Sequential(*conv(c, middle), nn.ReLU()) for c in self.backbone.channels[:2])
        self.tower = nn.Sequential(separable(middle, middle), separable(middle, middle))
        self.scores = nn.Conv2d(middle, classes, 1)
        self.reach = nn.Conv2d(middle, 4, 1)
        nn.init.constant_(self.scores.bias, math.log(_RARE / (1 - _RARE)))
        nn.init.constant_(self.reach.bias, 0.5)
        centres, strides = places(size)
        self.register_buffer("centres", centres, persistent=False)
        self.register_buffer("strides", strides, persistent=False)

    def forward(self, picture: torch.Tensor) -> dict[str, torch.Tensor]:
        eighth, sixteenth = self.backbone(picture)[:2]
        coarse = self.lateral[1](sixteenth)
        fine = self.lateral[0](eighth) + nn.functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
        scores, reach = [], []
        for level in (self.tower(fine), self.tower(coarse)):
            scores.append(self.scores(level).flatten(2).transpose(1, 2))
            reach.append(self.reach(level).flatten(2).transpose(1, 2))
        sides = torch.cat(reach, 1).clamp(-_LARGEST, _LARGEST).exp() * self.strides[:, None]
        boxes = torch.cat([self.centres - sides[..., :2], self.centres + sides[..., 2:]], -1)
        logits = torch.cat(scores, 1)
        if self.training:
            return {"boxes": boxes, "scores": logits}
        return {"boxes": boxes / self.size, "scores": logits.sigmoid()}


def places(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Centres (places, 2) in pixels and strides (places,), the fine grid first, row by row."""
    centres, strides = [], []
    for stride in STRIDES:
        line = (torch.arange(size // stride) + 0.5) * stride
        y, x = torch.meshgrid(line, line, indexing="ij")
        centres.append(torch.stack([x, y], -1).reshape(-1, 2))
        strides.append(torch.full((centres[-1].shape[0],), float(stride)))
    return torch.cat(centres), torch.cat(strides)


def assign(
    centres: torch.Tensor, strides: torch.Tensor, boxes: torch.Tensor, limits: Sequence[float] = (0.0, 48.0, math.inf)
) -> torch.Tensor:
    """Which object each place is to find: index into `boxes`, -1 for none.

    A place takes the smallest object whose middle (1.5 strides around its centre) it lies in and whose larger side is
    within its grid's limits. The place nearest to its centre counts as inside.

    Args:
        centres: As `places` gives them.
        strides: Likewise.
        boxes: (objects, 4) left, top, right, bottom in pixels.
        limits: Larger side in pixels from which each grid takes an object, and the end of the last.
    """
    if not len(boxes):
        return torch.full((len(centres),), -1, dtype=torch.long)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    sides = boxes[:, 2:] - boxes[:, :2]
    offset = (centres[:, None] - middle[None]).abs()
    core = (offset <= 1.5 * strides[:, None, None]) & (offset < sides[None] / 2)
    home = offset <= strides[:, None, None] / 2  # an object smaller than the grid's mesh may hold no place at all
    inside = core.all(-1) | home.all(-1)
    largest = sides.max(-1).values[None]
    level = (strides[:, None] == STRIDES[1]).long()
    edges = torch.tensor(limits)
    fits = (largest >= edges[level]) & (largest < edges[level + 1])
    area = sides.prod(-1)[None].expand(len(centres), -1).masked_fill(~(inside & fits), math.inf)
    least, chosen = area.min(1)
    return torch.where(torch.isinf(least), torch.full_like(chosen, -1), chosen)


def overlap(one: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Intersection over union of boxes row by row, and its generalized form (Rezatofighi et al. 2019)."""
    low, high = torch.maximum(one[:, :2], other[:, :2]), torch.minimum(one[:, 2:], other[:, 2:])
    shared = (high - low).clamp(min=0).prod(1)
    union = (one[:, 2:] - one[:, :2]).prod(1) + (other[:, 2:] - other[:, :2]).prod(1) - shared
    iou = shared / union.clamp(min=1e-6)
    hull = (torch.maximum(one[:, 2:], other[:, 2:]) - torch.minimum(one[:, :2], other[:, :2])).prod(1).clamp(min=1e-6)
    return iou, iou - (hull - union) / hull


def detection_loss(found: dict[str, torch.Tensor], wanted: torch.Tensor) -> torch.Tensor:
    """Focal loss of the scores (Lin et al. 2017) and generalized overlap of the boxes.

    Args:
        found: What a `Detector` gives in training.
        wanted: (batch, places, 5) box in pixels and class of each place; class -1 for none.
    """
    scores, boxes = found["scores"], found["boxes"]
    taken = wanted[..., 4] >= 0
    count = max(int(taken.sum()), 1)
    truth = torch.zeros_like(scores)
    truth[taken, wanted[taken][:, 4].long()] = 1
    surprise = nn.functional.binary_cross_entropy_with_logits(scores, truth, reduction="none")
    weight = torch.where(truth > 0, _WEIGHT, 1 - _WEIGHT) * (truth - scores.sigmoid()).abs() ** 2
    _, generalized = overlap(boxes[taken], wanted[taken][:, :4])
    return (surprise * weight).sum() / count + _BOXES * (1 - generalized).sum() / count
