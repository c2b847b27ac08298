"""A slimmed PyTorch network in files: weights without pickle, the cuts as JSON, and a program to be exported."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit_converters.errors import ConversionError, SourceError
from edgekit_converters.quiet import quiet
from edgekit_converters.slim.prune import replay
from edgekit_converters.slim.result import Cut
from edgekit_converters.sources.torch_factory import first_words

DESCRIPTION, WEIGHTS, PROGRAM = "network.json", "weights.safetensors", "model.pt2"


def keep(
    network: Any,
    cuts: Sequence[Cut],
    examples: Sequence[Any],
    folder: Path,
    description: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``weights.safetensors``, ``network.json`` with the cuts, and ``model.pt2``.

    Args:
        network: What pruning left.
        cuts: `PruneResult.cuts`; those of an earlier pruning before them, if there was one.
        examples: One tensor an input, batch axis first.
        folder: Made if it is not there.
        description: What ``network.json`` says besides ``pruned``, as a training run's does.

    Returns:
        ``model.pt2``, which `edgekit export` takes.

    Raises:
        ConversionError: torch.export cannot read the network.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({n: t.detach().contiguous().clone() for n, t in network.state_dict().items()}, folder / WEIGHTS)
    said = {**(description or {}), "pruned": [c.plain() for c in cuts]}
    (folder / DESCRIPTION).write_text(json.dumps(said, indent=1) + "\n", "utf-8")
    save_program(network, examples, folder / PROGRAM)
    return folder / PROGRAM


def load(network: Any, examples: Sequence[Any], folder: Path) -> Any:
    """What `keep` wrote, given the network as it was before it was pruned.

    Args:
        network: As built anew, with any weights; changed and given back in evaluation mode.
        examples: One tensor an input.
        folder: Where it was kept.

    Raises:
        SourceError: A file is missing or damaged, or is of another network.
        UsageError: A cut does not fit the network.
    """
    from safetensors.torch import load_file

    try:
        plain = json.loads((folder / DESCRIPTION).read_text("utf-8"))["pruned"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{folder / DESCRIPTION} does not tell how a network was pruned ({error})") from error
    network = replay(network, examples, plain)
    try:
        network.load_state_dict(load_file(folder / WEIGHTS))
    except Exception as error:  # safetensors and torch each have their own
        raise SourceError(f"{folder / WEIGHTS} does not fit the network ({first_words(error)})") from error
    return network.eval()


def save_program(network: Any, examples: Sequence[Any], path: Path) -> None:
    """Write a network as an exported program; its batch is free unless the network fixes it.

    Raises:
        ConversionError: torch.export cannot read the network.
    """
    import torch

    network = network.eval()
    two = tuple(torch.cat([e, e])[: max(2, len(e))] for e in examples)
    try:
        with quiet():
            try:
                shapes = tuple({0: torch.export.Dim("batch", min=1)} for _ in two)
                program = torch.export.export(network, two, dynamic_shapes=shapes)
            except Exception:  # a network that fixes its batch inside: torch raises a dozen kinds for that
                program = torch.export.export(network, tuple(e[:1] for e in examples))
            torch.export.save(program, str(path))
    except Exception as error:  # torch.export raises whatever tracing raises
        raise ConversionError(f"torch.export cannot read the network ({first_words(error)})") from error
