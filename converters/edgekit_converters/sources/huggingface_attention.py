"""Self-attention with fewer operations, for the file that is written: equal numbers, sooner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from edgekit_converters.sources.huggingface_network import TextNetwork

_PROJECTIONS = {
    "BertSelfAttention": ("query", "key", "value"),
    "RobertaSelfAttention": ("query", "key", "value"),
    "XLMRobertaSelfAttention": ("query", "key", "value"),
    "ElectraSelfAttention": ("query", "key", "value"),
    "DistilBertSelfAttention": ("q_lin", "k_lin", "v_lin"),
}
"""transformers' classes whose attention is the textbook's, each with its three linear layers."""


class Attention(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """What one of these classes computes, by one product for queries, keys and values together.

    One input is quantized once and packed once, and one transposition does for three.
    """

    def __init__(self, given: Any) -> None:
        super().__init__()
        layers = [getattr(given, name) for name in _PROJECTIONS[type(given).__name__]]
        self.weight = nn.Parameter(torch.cat([layer.weight for layer in layers]), requires_grad=False)
        self.bias = nn.Parameter(torch.cat([layer.bias for layer in layers]), requires_grad=False)
        self.width, self.scaling = int(given.attention_head_size), float(given.scaling)
        self.out_lin = getattr(given, "out_lin", None)

    def forward(self, hidden_states: Any, attention_mask: Any = None, **_: Any) -> tuple[Any, None]:
        """(batch, length, width) of as much, and the weights that nobody asked for."""
        batch, length, _width = hidden_states.shape
        every = nn.functional.linear(hidden_states, self.weight, self.bias)
        every = every.view(batch, length, -1, self.width).transpose(1, 2)
        query, key, value = every.chunk(3, dim=1)
        scores = torch.matmul(query, key.transpose(2, 3)) * self.scaling
        found = torch.matmul(torch.softmax(scores + attention_mask, dim=-1), value)
        found = found.transpose(1, 2).reshape(batch, length, -1)
        return (self.out_lin(found) if self.out_lin is not None else found), None


@contextmanager
def written_attention(network: TextNetwork) -> Iterator[None]:
    """Within it, a network whose attention is all of a known kind has `Attention` in place of it; others are as before.

    The mask is made in one step then, where transformers makes it for every pair of tokens.
    """
    every = [(parent, name, child) for parent in network.modules() for name, child in parent.named_children()
             if type(child).__name__.endswith("SelfAttention")]  # fmt: skip
    if not every or any(type(child).__name__ not in _PROJECTIONS for _, _, child in every):
        yield
        return
    for parent, name, child in every:
        setattr(parent, name, Attention(child).eval())
    network.adds_mask = True
    try:
        yield
    finally:
        network.adds_mask = False
        for parent, name, child in every:
            setattr(parent, name, child)
