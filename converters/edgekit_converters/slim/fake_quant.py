"""Modules that round as the device will, with gradients passed straight through where nothing saturates.

Imported where they are used: torch is heavy.
"""

from __future__ import annotations

from typing import Any

import torch

_TINY = 1e-8


class ActivationQuantizer(torch.nn.Module):  # type: ignore[misc]  # torch is untyped here
    """Rounds a tensor to 8 bits, one scale for all of it.

    While `observing` in training, its range follows the moving average of what it sees; the range is a buffer, so that
    it is saved with the weights. Before it has seen anything it lets everything through.

    Args:
        signed: Symmetric int8 with zero point 0 (TensorRT) instead of uint8.
        momentum: Share of a new batch in the moving average.
    """

    def __init__(self, signed: bool, momentum: float) -> None:
        super().__init__()
        self.signed, self.momentum = signed, momentum
        self.observing, self.passing = True, False
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    @property
    def lowest(self) -> int:
        """Least whole number."""
        return -128 if self.signed else 0

    def steps(self) -> tuple[float, int]:
        """(scale, zero point); scale 0 before anything was seen."""
        low, high = min(float(self.low), 0.0), max(float(self.high), 0.0)
        if self.signed:
            width = torch.tensor(max(-low, high) / 127, dtype=torch.float32)
            return float(width), 0
        width = torch.tensor((high - low) / 255, dtype=torch.float32)
        return float(width), min(255, max(0, round(-low / float(width)))) if float(width) > 0 else 0

    def observe(self, tensor: Any) -> None:
        """Take a batch into the moving average."""
        low, high = tensor.detach().aminmax()
        if float(self.low) == float(self.high) == 0.0:
            self.low.copy_(low)
            self.high.copy_(high)
        else:
            self.low.lerp_(low, self.momentum)
            self.high.lerp_(high, self.momentum)

    def forward(self, tensor: Any) -> Any:
        """The tensor on the grid."""
        if self.observing and self.training:
            self.observe(tensor)
        scale, zero_point = self.steps()
        if self.passing or scale < _TINY:
            return tensor
        return torch.fake_quantize_per_tensor_affine(tensor, scale, zero_point, self.lowest, self.lowest + 255)


class FrozenQuantizer(torch.nn.Module):  # type: ignore[misc]  # as above
    """The same with the steps as constants, as exporters take it."""

    def __init__(self, scale: float, zero_point: int, lowest: int, low: float, high: float) -> None:
        super().__init__()
        self.scale, self.zero_point, self.lowest, self.low, self.high = scale, zero_point, lowest, low, high

    def forward(self, tensor: Any) -> Any:
        """The tensor on the grid."""
        return torch.fake_quantize_per_tensor_affine(
            tensor, self.scale, self.zero_point, self.lowest, self.lowest + 255
        )


class ExportQuantizer(FrozenQuantizer):
    """The same in two operations, as the exporter takes them where the batch is free: it has no shapes for the one."""

    def forward(self, tensor: Any) -> Any:
        """The tensor on the grid."""
        import torch.ao.quantization.fx._decomposed  # registers the operations

        ends = (self.lowest, self.lowest + 255, torch.int8 if self.lowest < 0 else torch.uint8)
        whole = torch.ops.quantized_decomposed.quantize_per_tensor(tensor, self.scale, self.zero_point, *ends)
        return torch.ops.quantized_decomposed.dequantize_per_tensor(whole, self.scale, self.zero_point, *ends)


class WeightQuantizer(torch.nn.Module):  # type: ignore[misc]  # as above
    """Rounds weights to -127..127, one scale for each output channel (axis 0), by their largest magnitude now."""

    passing = False

    def scales(self, weight: Any) -> Any:
        """Scale of each output channel, float32."""
        return weight.detach().abs().flatten(1).amax(1).clamp_min(_TINY) / 127

    def forward(self, weight: Any) -> Any:
        """The weights on the grid."""
        if self.passing:
            return weight
        scales = self.scales(weight)
        # -128 is never reached: exporters know the whole range only
        return torch.fake_quantize_per_channel_affine(
            weight, scales, torch.zeros_like(scales, dtype=torch.int32), 0, -128, 127
        )


class FixedWeightQuantizer(torch.nn.Module):  # type: ignore[misc]  # as above
    """The same with the scales as constants."""

    def __init__(self, scales: Any) -> None:
        super().__init__()
        self.register_buffer("scales", scales)
        self.register_buffer("zeros", torch.zeros_like(scales, dtype=torch.int32))

    def forward(self, weight: Any) -> Any:
        """The weights on the grid."""
        return torch.fake_quantize_per_channel_affine(weight, self.scales, self.zeros, 0, -128, 127)
