"""Small networks for pruning, distillation and quantization-aware training."""

from __future__ import annotations

import torch
from torch import nn


class Residual(nn.Module):
    """A MobileNetV2-like block between two convolutions, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
        self.expand = nn.Sequential(nn.Conv2d(16, 48, 1, bias=False), nn.BatchNorm2d(48), nn.ReLU6())
        self.depth = nn.Sequential(nn.Conv2d(48, 48, 3, 1, 1, groups=48, bias=False), nn.BatchNorm2d(48), nn.ReLU6())
        self.reduce = nn.Sequential(nn.Conv2d(48, 16, 1, bias=False), nn.BatchNorm2d(16))
        self.side = nn.Conv2d(16, 24, 1)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(96, 32), nn.ReLU(), nn.Linear(32, 5))

    def forward(self, x):
        x = self.stem(x)
        x = x + self.reduce(self.depth(self.expand(x)))
        return self.head(torch.relu(self.side(x)))


class Grouped(nn.Module):
    """A grouped convolution, a channel shuffle, two outputs, one of them in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 32, 3, padding=1)
        self.grouped = nn.Conv2d(32, 32, 3, padding=1, groups=2)
        self.shuffled = nn.Conv2d(32, 32, 1)
        self.after = nn.Conv2d(32, 32, 1)
        self.last = nn.Linear(32, 4)

    def forward(self, x):
        x = torch.relu(self.grouped(torch.relu(self.first(x))))
        x = torch.relu(self.shuffled(x))
        b, c, h, w = x.shape
        x = x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)
        middle = self.after(x)
        return self.last(middle.mean((2, 3))), middle


class Logits(nn.Module):
    """A transformers model that takes tensors and gives logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs):
        return self.network(*inputs).logits


def lively(network: nn.Module, seed: int = 0) -> nn.Module:
    """In evaluation mode, with batch norms that do something."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            size = module.num_features
            module.running_mean.copy_(torch.randn(size, generator=generator) * 0.1)
            module.running_var.copy_(torch.rand(size, generator=generator) + 0.5)
            module.weight.data.copy_(torch.rand(size, generator=generator) + 0.5)
            module.bias.data.copy_(torch.randn(size, generator=generator) * 0.1)
    return network.eval()


def seeded(kind, *arguments, seed: int = 0):
    """A network of a kind with fixed weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return lively(kind(*arguments), seed)


def rows(count: int = 512, seed: int = 0):
    """Rows of 10 numbers whose class is the sign of a product, hard for a straight line."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 10, generator=generator)
    return x, ((x[:, 0] * x[:, 1] > 0).long() + 2 * (x[:, 2] > x[:, 3]).long())


def loader(x, y, size: int = 64, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    pairs = [((a,), b) for a, b in zip(x, y)]
    return torch.utils.data.DataLoader(pairs, size, shuffle=True, generator=generator)


def dense(width: int, seed: int = 0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(10, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4))


def accuracy(x, y):
    def score(network):
        network.eval()
        with torch.no_grad():
            return float((network(x).argmax(1) == y).float().mean())

    return score
