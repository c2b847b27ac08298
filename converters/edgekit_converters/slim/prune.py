"""Structured pruning of PyTorch networks: channels, neurons, attention heads and whole blocks that go for good.

torch-pruning (Fang et al. 2023, arXiv:2301.12900) tells which layers' channels hang together. What it tells is proven
on every network before it is used: a cut must compute what the network computes with those channels masked.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

from edgekit_converters.errors import ConversionError, MissingRequirement, UsageError
from edgekit_converters.slim.depth import blocks_of, drop
from edgekit_converters.slim.heads import Attention, attentions
from edgekit_converters.slim.loop import Surgeon, Unit, run
from edgekit_converters.slim.result import Cut, PruneResult, read_cuts
from edgekit_converters.slim.settings import FineTune, Measure, PruneSettings, Score

_SAME = 1e-4
"""A cut and the mask may differ by this share of the largest output: sums in another order."""


def prune(
    network: Any,
    examples: Sequence[Any],
    *,
    score: Score,
    measure: Measure,
    fine_tune: FineTune | None = None,
    settings: PruneSettings | None = None,
) -> PruneResult:
    """Take channels away where it pays.

    Args:
        network: ``torch.nn.Module``, called with the examples; not changed.
        examples: One tensor an input, batch axis first.
        score: Network to how well it does on held-out data.
        measure: Networks to the milliseconds of each, as `latency.Stopwatch`.
        fine_tune: (network, epochs), trains in place; None where there is nothing to train with.
        settings: How.

    Raises:
        ConversionError: Nothing can be pruned; names reasons.
        UsageError: An exported program, which has no layers to cut.
        MissingRequirement: torch-pruning is not installed.
    """
    surgeon = TorchSurgeon(tuple(examples))
    return run(surgeon, surgeon.copy(network), settings or PruneSettings(), score, measure, fine_tune)


def replay(network: Any, examples: Sequence[Any], cuts: Sequence[Cut] | Sequence[Mapping[str, Any]]) -> Any:
    """The architecture that pruning left, out of the architecture before it; weights are loaded into it afterwards.

    Args:
        network: As built anew; changed and given back.
        examples: One tensor an input.
        cuts: `PruneResult.cuts`, or what they are as plain data.

    Raises:
        UsageError: A cut does not fit the network; names the layer.
    """
    typed = [c for c in cuts if isinstance(c, Cut)]
    return TorchSurgeon(tuple(examples)).cut(network, typed if len(typed) == len(cuts) else read_cuts(cuts))  # type: ignore[arg-type]


class TorchSurgeon(Surgeon):
    """Knows PyTorch.

    Args:
        examples: One tensor an input.
    """

    def __init__(self, examples: tuple[Any, ...]) -> None:
        try:
            import torch_pruning  # noqa: F401
        except ImportError:
            raise MissingRequirement("torch-pruning is not installed", 'pip install "edgekit[train]"') from None
        self.examples = examples

    def copy(self, network: Any) -> Any:
        import torch

        if isinstance(network, torch.fx.GraphModule):
            raise UsageError(
                "an exported program has no layers to cut", "give the network as file.py:factory with --weights"
            )
        return copy.deepcopy(network).eval()

    def units(self, network: Any, settings: PruneSettings) -> tuple[tuple[Unit, ...], dict[str, str]]:
        """Groups of torch-pruning that are understood, and attention heads; each proven by a trial cut."""
        found: list[Unit] = []
        left: dict[str, str] = {}
        blocks = list(attentions(network))
        inside = {layer for block in blocks for layer in block.layers}
        with _graph(network, self.examples) as graph:
            for group in graph.get_all_groups():
                root, members = _name(graph, group), {m for m, _ in _members(graph, group)}
                if members & inside:
                    continue  # heads are cut whole, below
                why = _why_not(graph, group) or ("asked to be kept" if members & set(settings.keep) else "")
                if not why and len(group[0].idxs) <= settings.channel_multiple:
                    why = f"has no more than {settings.channel_multiple} channels"
                if why:
                    left[root] = why
                else:
                    found.append(Unit(root, len(group[0].idxs)))
        for block in blocks if settings.heads else ():
            unit = Unit(
                block.layers[0], block.module.get_submodule(block.family.projections[0]).out_features, block.size
            )
            if unit.channels > unit.block and not set(block.layers) & set(settings.keep):
                found.append(unit)
        if settings.depth:
            found += [Unit(name, 0) for name in blocks_of(network, self.examples) if not _touches(name, settings.keep)]
        proven = []
        for unit in found:
            why = self._disproof(network, unit)
            if why:
                left[unit.layer] = why
            else:
                proven.append(unit)
        return tuple(proven), left

    def _disproof(self, network: Any, unit: Unit) -> str:
        """Why a cut of this unit cannot be trusted; empty where it computes what the mask computes."""
        blocks = (
            unit.channels // unit.block
        )  # none for a whole block: then it goes twice, and all that is tried is a run
        channels = tuple(b * unit.block + i for b in range(0, blocks - 1, 2) for i in range(unit.block))
        try:
            want = self._run(self.masked(network, unit, channels))
            have = self._run(self.cut(self.copy(network), [Cut(unit.layer, channels)]))
        except Exception as error:  # a cut that does not fit: the network, in its own words, cannot run any more
            return f"a trial cut failed ({type(error).__name__})"
        if [w.shape for w in want] != [h.shape for h in have]:
            return "holds the network's outputs"
        for one, other in zip(want, have, strict=True):
            scale = float(one.abs().max()) if one.numel() else 0.0
            if not bool(((one - other).abs() <= _SAME * max(scale, 1e-6)).all()):
                return "a trial cut computes something else than the mask: its dependencies are not understood"
        return ""

    def _run(self, network: Any) -> list[Any]:
        import torch
        from torch.utils import _pytree

        with torch.no_grad():
            found = _pytree.tree_leaves(network(*self.examples))
        return [t.float() for t in found if isinstance(t, torch.Tensor)]

    def least(self, network: Any, unit: Unit, count: int, importance: str) -> tuple[int, ...]:
        with _graph(network, self.examples) as graph:
            group = _group(graph, network, unit.layer)
            values = _importance(group, importance)
        blocks = values.reshape(-1, unit.block).sum(1)
        first = sorted(blocks.argsort(stable=True)[: count // unit.block].tolist())
        return tuple(b * unit.block + i for b in first for i in range(unit.block))

    def masked(self, network: Any, unit: Unit, channels: Sequence[int]) -> Any:
        import torch

        result = self.copy(network)
        if unit.whole:
            return drop(result, unit.layer, self.examples)
        with _graph(result, self.examples) as graph:
            group = _group(graph, result, unit.layer, channels)
            with torch.no_grad():
                takers = [(m, idxs) for _, (m, idxs) in _takers(graph, group)]
                if not takers:
                    raise ConversionError(f"nothing takes the channels of {unit.layer!r}")
                for layer, idxs in takers:
                    axis = 0 if getattr(layer, "transposed", False) else 1
                    layer.weight.index_fill_(axis, torch.tensor(idxs), 0.0)
        return result

    def cut(self, network: Any, cuts: Sequence[Cut]) -> Any:
        for whole, run_of in groupby(cuts, key=lambda made: not made.channels):
            if whole:
                for made in run_of:
                    network = drop(network, made.layer, self.examples)
            else:
                self._narrow(network, list(run_of))
        return network

    def _narrow(self, network: Any, cuts: Sequence[Cut]) -> None:
        names = {name for name, _ in network.named_modules()}
        blocks: dict[str, Attention] = {layer: b for b in attentions(network) for layer in b.layers}
        with _graph(network, self.examples) as graph:
            for made in cuts:
                if made.layer not in names:
                    raise UsageError(
                        f"the network has no layer {made.layer!r:.80} to cut", "build it as it was trained"
                    )
                width = _channels(network.get_submodule(made.layer))
                if max(made.channels) >= width or len(set(made.channels)) >= width:
                    raise UsageError(
                        f"layer {made.layer!r:.80} has {width} channels, which the cut does not fit",
                        "replay all cuts in their order on the network as it was before the first",
                    )
                _group(graph, network, made.layer, made.channels).prune(record_history=False)
                if made.layer in blocks:
                    blocks[made.layer].settle()

    def channels(self, network: Any, unit: Unit) -> int:
        modules = dict(network.named_modules())
        return _channels(modules[unit.layer]) if unit.layer in modules else 0

    def cost(self, network: Any) -> tuple[int, int]:
        import torch

        macs = 0

        def count(layer: Any, _inputs: Any, output: Any) -> None:
            nonlocal macs
            taken = layer.weight[0].numel() if not getattr(layer, "transposed", False) else layer.weight[:, 0].numel()
            macs += taken * (output.numel() // output.shape[0])

        layers = [m for m in network.modules() if isinstance(m, (torch.nn.Linear, torch.nn.modules.conv._ConvNd))]
        hooks = [layer.register_forward_hook(count) for layer in layers]
        try:
            self._run(network)
        finally:
            for hook in hooks:
                hook.remove()
        return sum(p.numel() for p in network.parameters()), macs


@contextmanager
def _graph(network: Any, examples: tuple[Any, ...]) -> Iterator[Any]:
    """torch-pruning's dependency graph; frozen weights and the mode of training are as before afterwards."""
    import torch
    import torch_pruning

    from edgekit_converters.quiet import quiet

    training = {m: m.training for m in network.modules()}
    frozen = [p for p in network.parameters() if not p.requires_grad]
    network.eval()
    for parameter in frozen:
        parameter.requires_grad_(True)  # it follows gradients to see what hangs together
    still = {n for n, p in network.named_parameters() if any(p is f for f in frozen)}
    try:
        with torch.enable_grad(), quiet():
            graph = torch_pruning.DependencyGraph()
            graph.build_dependency(network, example_inputs=examples, verbose=False)
        yield graph
    finally:
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name not in still and parameter.is_floating_point())
            parameter.grad = None
        for module, mode in training.items():
            module.training = mode


def _group(graph: Any, network: Any, layer: str, channels: Sequence[int] | None = None) -> Any:
    module = network.get_submodule(layer)
    pruner = graph.get_pruner_of_module(module)
    numbers = list(range(_channels(module)) if channels is None else channels)
    return graph.get_pruning_group(module, pruner.prune_out_channels, numbers)


def _channels(layer: Any) -> int:
    return int(getattr(layer, "out_channels", 0) or getattr(layer, "out_features", 0))


def _touches(block: str, layers: Sequence[str]) -> bool:
    return any(layer == block or layer.startswith(f"{block}.") for layer in layers)


def _name(graph: Any, group: Any) -> str:
    return str(graph._module2name[group[0].dep.target.module])


def _members(graph: Any, group: Any) -> Iterator[tuple[str, Any]]:
    """Layers whose outputs shrink."""
    for dep, _ in group:
        if dep.target.module in graph._module2name and graph.is_out_channel_pruning_fn(dep.handler):
            yield graph._module2name[dep.target.module], dep.target.module


def _takers(graph: Any, group: Any) -> Iterator[tuple[str, tuple[Any, list[int]]]]:
    """Layers that take what shrinks and whose own outputs do not shrink with it."""
    from torch_pruning.ops import OPTYPE

    for dep, idxs in group:
        if dep.target.type in (OPTYPE.CONV, OPTYPE.LINEAR) and graph.is_in_channel_pruning_fn(dep.handler):
            yield graph._module2name[dep.target.module], (dep.target.module, list(idxs))


def _why_not(graph: Any, group: Any) -> str:
    """Why a group must stay whole, empty where it may be cut."""
    from torch_pruning.ops import OPTYPE

    plain = {
        OPTYPE.CONV, OPTYPE.DEPTHWISE_CONV, OPTYPE.LINEAR, OPTYPE.BN, OPTYPE.PRELU, OPTYPE.ELEMENTWISE, OPTYPE.CONCAT,
        OPTYPE.SPLIT, OPTYPE.RESHAPE, OPTYPE.EXPAND, OPTYPE.OUTPUT,
    }  # fmt: skip
    for dep, _ in group:
        if dep.target.type == OPTYPE.OUTPUT:
            return "holds the network's outputs"
        if dep.target.type not in plain:
            return f"its width runs through {OPTYPE(dep.target.type).name.lower()} layers"
        groups = getattr(dep.target.module, "groups", 1)
        if dep.target.type == OPTYPE.CONV and groups > 1:
            return "goes through a grouped convolution"
    if next(_takers(graph, group), None) is None:
        return "holds the network's outputs"
    return ""


def _importance(group: Any, kind: str) -> Any:
    import torch
    from torch_pruning import importance

    values = None
    if kind == "bn":
        values = importance.BNScaleImportance(normalizer=None)(group)
    elif kind in ("l1", "l2"):
        first = importance.MagnitudeImportance(int(kind[1]), group_reduction="first", normalizer=None)
        values = first(group)
    if values is None:
        values = importance.GroupMagnitudeImportance(2, normalizer="mean")(group)
    values = values.detach().double()
    if not bool(torch.isfinite(values).all()):
        raise ConversionError("the network's weights hold NaN or infinity", "train it again with a lower rate")
    return values
