"""Residual blocks of Keras networks that can be dropped whole: their Add goes, and what went around the block stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgekit_converters.slim.keras_spaces import kind_of


@dataclass(frozen=True)
class Shortcut:
    """The way around a residual block.

    Attributes:
        place: Which of the Add's two inputs it is.
        inside: Names of the layers of the block, its Add included.
    """

    place: int
    inside: frozenset[str]


def shortcuts_of(network: Any) -> dict[str, Shortcut]:
    """Name of each Add that closes a residual block to the way around the block.

    A block is closed if all that comes to one input of the Add comes from the tensor that is the other.
    """
    found = {}
    for layer in network.layers:
        if kind_of(layer) != "Add":
            continue
        inputs = layer.input
        if not isinstance(inputs, (list, tuple)) or len(inputs) != 2 or inputs[0].shape != inputs[1].shape:
            continue
        for around in (0, 1):
            inside = _between(inputs[around], inputs[1 - around])
            if inside:
                found[layer.name] = Shortcut(around, inside | {layer.name})
    return found


def _between(source: Any, tensor: Any) -> frozenset[str]:
    """Layers between two tensors; none where something comes to the second that does not come from the first."""
    waiting, seen, names = [tensor], set(), set()
    while waiting:
        current = waiting.pop()
        if current is source or id(current) in seen:
            continue
        seen.add(id(current))
        history = current._keras_history
        names.add(str(history.operation.name))
        before = history.operation._inbound_nodes[history.node_index].input_tensors
        if not before:
            return frozenset()  # an input of the network
        waiting += before
    return frozenset(names)
