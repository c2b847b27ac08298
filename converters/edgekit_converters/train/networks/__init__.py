"""PyTorch networks by name: what a run folder's ``network.json`` says is built again here, as a bare module."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit_converters.errors import SourceError

NETWORKS = {
    "ds_cnn": "edgekit_converters.train.networks.ds_cnn:DsCnn",
    "conv1d": "edgekit_converters.train.networks.sensor:Conv1d",
    "mlp": "edgekit_converters.train.networks.sensor:Mlp",
    "shufflenet_v2": "edgekit_converters.train.networks.shufflenetv2:Classifier",
    "detector": "edgekit_converters.train.networks.detector:Detector",
    "huggingface": "edgekit_converters.train.networks.huggingface:Pictures",
    "text": "edgekit_converters.train.networks.text:Texts",
}
"""Each has parts ``backbone`` and ``head``; its arguments are plain data."""

DESCRIPTION, WEIGHTS = "network.json", "weights.safetensors"


def build(description: Mapping[str, Any]) -> Any:
    """The network of a description, with fresh weights, as a ``torch.nn.Module``.

    Args:
        description: ``{"network": NAME, "options": {…}}``.

    Raises:
        SourceError: There is no such network, or its options do not fit.
    """
    try:
        module, attribute = NETWORKS[description["network"]].split(":")
        return getattr(importlib.import_module(module), attribute)(**description.get("options", {}))
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(f"{description!r:.120} describes no network ({error})", "train again") from error


def load(run: Path) -> Any:
    """The trained network of a run folder, as a ``torch.nn.Module`` in evaluation mode.

    Raises:
        SourceError: The folder holds none, or it is damaged.
    """
    from safetensors.torch import load_file

    try:
        network = build(json.loads((run / DESCRIPTION).read_text("utf-8")))
        network.load_state_dict(load_file(run / WEIGHTS))
    except Exception as error:  # safetensors and torch each have their own
        raise SourceError(f"{run} holds no trained PyTorch network ({str(error)[:160]})", "train it first") from error
    return network.eval()
