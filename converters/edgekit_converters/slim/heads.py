"""Attention as transformers writes it: which layers make the heads, and what must be set when some of them go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Family:
    """How a family of networks calls its parts.

    Attributes:
        projections: Attributes of the linear layers that make queries, keys and values.
        heads: Attribute with the number of heads.
        size: Attribute with the width of a head, which stays.
        widths: Attributes with heads x width, set again after a cut.
    """

    projections: tuple[str, str, str]
    heads: str
    size: str
    widths: tuple[str, ...] = ()


FAMILIES = (
    Family(("query", "key", "value"), "num_attention_heads", "attention_head_size", ("all_head_size",)),  # BERT
    Family(("q_lin", "k_lin", "v_lin"), "n_heads", "attention_head_size", ("dim",)),  # DistilBERT
    Family(("q_proj", "k_proj", "v_proj"), "num_attention_heads", "head_dim"),  # ViT
)


@dataclass(frozen=True)
class Attention:
    """One attention block.

    Attributes:
        name: Of the module.
        module: It.
        family: How it calls its parts.
    """

    name: str
    module: Any
    family: Family

    @property
    def layers(self) -> tuple[str, str, str]:
        """Names of the linear layers that make queries, keys and values."""
        one, two, three = (f"{self.name}.{p}" if self.name else p for p in self.family.projections)
        return one, two, three

    @property
    def size(self) -> int:
        """Width of a head."""
        return int(getattr(self.module, self.family.size))

    def settle(self) -> None:
        """Set the number of heads and the width again by what the layers have now."""
        width = getattr(self.module, self.family.projections[0]).out_features
        setattr(self.module, self.family.heads, width // self.size)
        for attribute in self.family.widths:
            setattr(self.module, attribute, width)


def attentions(network: Any) -> Iterator[Attention]:
    """Attention blocks of a network whose queries, keys and values have the same number of heads."""
    import torch

    for name, module in network.named_modules():
        for family in FAMILIES:
            layers = [getattr(module, p, None) for p in family.projections]
            linear = all(isinstance(layer, torch.nn.Linear) for layer in layers)
            if linear and hasattr(module, family.heads) and hasattr(module, family.size):
                width = int(getattr(module, family.heads)) * int(getattr(module, family.size))
                if all(layer.out_features == width for layer in layers if layer is not None):
                    yield Attention(name, module, family)
                break
