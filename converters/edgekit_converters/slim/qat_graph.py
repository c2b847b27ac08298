"""A network as a graph of operations, batch norms folded, and quantizers put where integer kernels want them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from edgekit_converters.errors import ConversionError
from edgekit_converters.quiet import quiet
from edgekit_converters.slim.fake_quant import ActivationQuantizer, WeightQuantizer
from edgekit_converters.sources.torch_factory import first_words

aten = torch.ops.aten
WEIGHTED = (aten.conv1d.default, aten.conv2d.default, aten.conv2d.padding, aten.conv1d.padding, aten.linear.default)
"""Operations with int8 kernels and weights of their own."""
RECTIFIERS = (aten.relu.default, aten.relu_.default, aten.hardtanh.default, aten.hardtanh_.default)
"""Rounded once with what they rectify: kernels do both in one go."""
_ARITHMETIC = (
    aten.add.Tensor, aten.add_.Tensor, aten.mul.Tensor, aten.mul_.Tensor, aten.cat.default, aten.sigmoid.default,
    aten.avg_pool2d.default, aten.adaptive_avg_pool2d.default, aten.adaptive_avg_pool1d.default, aten.mean.dim,
    aten.hardswish.default, aten.hardswish_.default, aten.hardsigmoid.default, aten.silu.default, aten.silu_.default,
    aten.leaky_relu.default, aten.leaky_relu_.default, aten.clamp.default,
)  # fmt: skip
_SAME_GRID = (
    aten.max_pool2d.default, aten.max_pool1d.default, aten.flatten.using_ints, aten.view.default, aten.reshape.default,
    aten.permute.default, aten.transpose.int, aten.squeeze.dim, aten.squeeze.dims, aten.unsqueeze.default,
    aten.dropout.default, aten.contiguous.default, aten.clone.default, aten.slice.Tensor, aten.select.int,
    aten.detach.default, aten.alias.default,
)  # fmt: skip
"""They move values, so that what was on a grid stays on it."""


def captured(network: Any, examples: Sequence[Any]) -> Any:
    """The network in evaluation mode as a trainable graph of ATen operations; its batch stays free where it may.

    Dropout is gone and batch norms stand still in it: both are done with when a network is quantized.

    Raises:
        ConversionError: torch.export cannot read the network.
    """
    network = copy.deepcopy(network)
    if not isinstance(network, torch.fx.GraphModule):
        network.eval()
    two = tuple(torch.cat([e, e])[: max(2, len(e))] for e in examples)
    shapes = tuple({0: torch.export.Dim("batch", min=1)} for _ in two)
    try:
        with quiet():
            try:
                program = torch.export.export(network, two, dynamic_shapes=shapes)
            except Exception:  # a network that fixes its batch inside: torch raises a dozen kinds for that
                program = torch.export.export(network, tuple(examples))
            module = program.module(check_guards=False)
    except Exception as error:  # torch.export raises whatever tracing raises
        raise ConversionError(f"torch.export cannot read the network ({first_words(error)})") from error
    return torch.fx.GraphModule(module, module.graph)


def fold_norms(graph: Any) -> int:
    """Fold batch norms into the convolutions and dense layers before them; how many were folded."""
    folded = 0
    for node in list(graph.graph.nodes):
        if node.op != "call_function" or node.target is not aten.batch_norm.default:
            continue
        layer = node.args[0]
        if layer.target not in WEIGHTED or len(layer.users) != 1 or layer.args[1].op != "get_attr":
            continue
        gamma, beta, mean, variance = (None if a is None else attribute(graph, a.target) for a in node.args[1:5])
        weight = attribute(graph, layer.args[1].target)
        given = layer.args[2] if len(layer.args) > 2 else layer.kwargs.get("bias")
        bias = attribute(graph, given.target) if given is not None else torch.zeros_like(mean)
        with torch.no_grad():
            factor = (1 if gamma is None else gamma) / torch.sqrt(variance + node.args[7])
            new = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
            shift = (bias - mean) * factor + (0 if beta is None else beta)
        number = f"folded_{folded}"
        graph.register_parameter(f"{number}_weight", torch.nn.Parameter(new.detach().clone()))
        graph.register_parameter(f"{number}_bias", torch.nn.Parameter(shift.detach().clone()))
        with graph.graph.inserting_before(layer):
            new_weight = graph.graph.get_attr(f"{number}_weight")
            new_bias = graph.graph.get_attr(f"{number}_bias")
        new_weight.meta["owner"] = _owner(layer)
        layer.args = (layer.args[0], new_weight, new_bias, *layer.args[3:])
        layer.kwargs = {k: v for k, v in layer.kwargs.items() if k != "bias"}
        node.replace_all_uses_with(layer)
        graph.graph.erase_node(node)
        folded += 1
    tidied(graph)
    return folded


def insert_quantizers(graph: Any, signed: bool, momentum: float, keep: Sequence[str] = ()) -> int:
    """Round the weights of convolutions and dense layers, what they take, and what they and arithmetic give.

    Args:
        graph: Changed in place.
        signed: See `ActivationQuantizer`.
        momentum: See `ActivationQuantizer`.
        keep: Layers that stay float, by the name of their weight's owner.

    Returns:
        How many layers with weights are quantized.
    """
    layers = [n for n in graph.graph.nodes if n.target in WEIGHTED and _owner(n) not in keep and _constant(n)]
    chosen = set(layers)
    for number, node in enumerate(layers):
        graph.add_submodule(f"weight_quantizer_{number}", WeightQuantizer())
        with graph.graph.inserting_before(node):
            rounded = graph.graph.call_module(f"weight_quantizer_{number}", (node.args[1],))
        node.args = (node.args[0], rounded, *node.args[2:])
    wanted: dict[Any, None] = {}
    for node in graph.graph.nodes:
        if node in chosen:
            wanted[_grid_of(node.args[0])] = None
            wanted[_last(node)] = None
        elif node.target in _ARITHMETIC and any(_reaches(i, chosen) for i in node.all_input_nodes):
            for given in node.all_input_nodes:
                wanted[_grid_of(given)] = None
            wanted[_last(node)] = None
    places = [n for n in wanted if _floating(n)]
    for number, node in enumerate(places):
        name = f"quantizer_{number}"
        graph.add_submodule(name, ActivationQuantizer(signed, momentum))
        with graph.graph.inserting_after(node):
            rounded = graph.graph.call_module(name, (node,))
        node.replace_all_uses_with(rounded, lambda user, r=rounded: user is not r)
    tidied(graph)
    return len(layers)


def attribute(graph: Any, name: str) -> Any:
    """A parameter or buffer by its dotted name."""
    found = graph
    for part in name.split("."):
        found = getattr(found, part)
    return found


def tidied(graph: Any) -> None:
    """Drop what is no longer used, and compile the graph anew."""
    graph.graph.eliminate_dead_code()
    graph.delete_all_unused_submodules()
    graph.graph.lint()
    graph.recompile()
    used = {n.target for n in graph.graph.nodes if n.op == "get_attr"}
    for name, _ in [*graph.named_parameters(), *graph.named_buffers()]:
        if "." not in name and name not in used:
            delattr(graph, name)


def quantizers(graph: Any, kind: type) -> Iterator[tuple[Any, Any]]:
    """(node, module) of the quantizers of a kind, in the graph's order."""
    for node in graph.graph.nodes:
        if node.op == "call_module":
            module = graph.get_submodule(node.target)
            if isinstance(module, kind):
                yield node, module


def _owner(node: Any) -> str:
    given = node.args[1]
    owner = str(given.target).rpartition(".")[0] if given.op == "get_attr" else ""
    return str(given.meta.get("owner", owner))


def _constant(node: Any) -> bool:
    return bool(node.args[1].op == "get_attr")


def _grid_of(node: Any) -> Any:
    """Where the values of a node were made."""
    while node.op == "call_function" and node.target in _SAME_GRID:
        node = node.args[0]
    return node


def _last(node: Any) -> Any:
    """The rectifier behind a node that alone takes it, else the node."""
    users = list(node.users)
    return users[0] if len(users) == 1 and users[0].target in RECTIFIERS else node


def _reaches(node: Any, chosen: set[Any]) -> bool:
    """Whether a node carries what a quantized layer made, through movers, rectifiers and arithmetic."""
    seen, waiting = set(), [node]
    while waiting:
        now = waiting.pop()
        if now in chosen:
            return True
        if now in seen or now.op != "call_function" or now.target not in (*_SAME_GRID, *RECTIFIERS, *_ARITHMETIC):
            continue
        seen.add(now)
        waiting.extend(now.all_input_nodes)
    return False


def _floating(node: Any) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.is_floating_point() and node.op != "get_attr"
