"""Blocks that can be dropped whole: layers of transformers, residual blocks; what goes in comes out instead.

At batch 1 fewer layers pay where narrower ones no longer do (Kim et al. 2024, arXiv:2402.02834). Names of all other
layers stay as they are, since what stands in for a block keeps its place.
"""

from __future__ import annotations

from typing import Any

from edgekit_converters.errors import UsageError


def blocks_of(network: Any, examples: tuple[Any, ...]) -> tuple[str, ...]:
    """Names of blocks that can be dropped, in the order in which they stand in the network.

    A block is a member of a ``ModuleList`` or ``Sequential`` that holds two layers with weights or more, runs once, and
    gives a tensor of the shape and type of its first input (or a tuple that begins with one). Whether the network can
    do without is for its score to say: a block with a connection around it is made for that, another hardly ever.
    """
    return tuple(_forms(network, examples))


def drop(network: Any, name: str, examples: tuple[Any, ...]) -> Any:
    """Put what passes its first input on in the place of a block; `network` itself is changed and given back.

    Raises:
        UsageError: There is no such block.
    """
    forms = _forms(network, examples)
    if name not in forms:
        raise UsageError(f"the network has no block {name!r:.80} to drop", "build it as it was trained")
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, _passing(forms[name]))
    return network


def _passing(in_tuple: bool) -> Any:
    import torch

    class Passing(torch.nn.Module):  # type: ignore[misc]  # torch is untyped here
        """Gives its first input."""

        def forward(self, first: Any, *_others: Any, **_named: Any) -> Any:
            return (first,) if in_tuple else first

    return Passing()


def _forms(network: Any, examples: tuple[Any, ...]) -> dict[str, bool]:
    """Block to whether it gives a tuple."""
    import torch

    runs: dict[str, list[bool | None]] = {}

    def watch(name: str) -> Any:
        def note(_module: Any, inputs: tuple[Any, ...], output: Any) -> None:
            first = output[0] if isinstance(output, tuple) and output else output
            same = (
                bool(inputs)
                and isinstance(first, torch.Tensor)
                and isinstance(inputs[0], torch.Tensor)
                and first.shape == inputs[0].shape
                and first.dtype == inputs[0].dtype
            )
            runs.setdefault(name, []).append(isinstance(output, tuple) if same else None)

        return note

    hooks = [
        module.register_forward_hook(watch(f"{parent}.{child}" if parent else child))
        for parent, holder in network.named_modules()
        if isinstance(holder, (torch.nn.ModuleList, torch.nn.Sequential))
        for child, module in holder.named_children()
        if _layers(module) > 1
    ]
    try:
        with torch.no_grad():
            network(*examples)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: found[0] for name, found in runs.items() if len(found) == 1 and found[0] is not None}


def _layers(module: Any) -> int:
    """Layers with weights of two axes or more."""
    return sum(getattr(m, "weight", None) is not None and m.weight.ndim > 1 for m in module.modules())
