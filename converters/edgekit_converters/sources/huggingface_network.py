"""A text encoder with what comes after it, as one network of tensors."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgekit_converters.errors import SourceError
from edgekit_converters.quiet import quiet
from edgekit_converters.sources.huggingface_folder import CONFIG, WEIGHTS, Parts, _json, check_weights
from edgekit_runtime.specification.wordpiece import TENSORS

_ACTIVATIONS = {"Identity": nn.Identity, "Tanh": nn.Tanh, "ReLU": nn.ReLU, "GELU": nn.GELU}


class TextNetwork(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """Encoder, pooling and linear layers; or a whole model of transformers.

    Args:
        encoder: Of transformers; gives ``logits`` or ``last_hidden_state``.
        pooling: ``mean``, ``cls``, or empty to give the tokens' vectors as they are.
        head: Applied to the pooled vector.
        normalize: Whether the result is brought to length 1.
    """

    def __init__(
        self, encoder: Any, pooling: str = "", head: Sequence[nn.Module] = (), normalize: bool = False
    ) -> None:
        super().__init__()
        self.encoder, self.pooling, self.normalize = encoder, pooling, normalize
        self.head = nn.Sequential(*head)
        self.adds_mask = False  # whether attention gets what is added to its scores rather than the mask
        self.tensors = tuple(name for name in TENSORS if name in inspect.signature(encoder.forward).parameters)

    def forward(self, *tensors: Any) -> Any:
        """Logits, an embedding or (batch, length, width) vectors of `tensors`, each (batch, length) int64."""
        given = dict(zip(self.tensors, tensors, strict=True))
        if self.adds_mask:
            mask = given["attention_mask"][:, None, None, :]
            added = torch.where(mask > 0, 0.0, torch.finfo(torch.float32).min)
            found = self.encoder(**{**given, "attention_mask": added})
        else:
            found = self.encoder(**given)
        if not self.pooling:
            return found.logits if "logits" in found else found.last_hidden_state
        pooled = self.head(self.pool(found.last_hidden_state, given["attention_mask"]))
        return nn.functional.normalize(pooled, dim=-1) if self.normalize else pooled

    def pool(self, hidden: Any, mask: Any) -> Any:
        """(batch, width) of the tokens' vectors; padding does not count."""
        if self.pooling == "cls":
            return hidden[:, 0]
        weight = mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9)


def load_network(parts: Parts, *, trust: bool = False) -> TextNetwork:
    """By transformers' own loading code, in evaluation mode, float32.

    Raises:
        SourceError: transformers cannot load it.
        UntrustedPickle: Its weights are a pickle and `trust` is not set.
    """
    from transformers import AutoModel, AutoModelForSequenceClassification

    safe = check_weights(parts.encoder, trust=trust)
    loader = AutoModelForSequenceClassification if parts.classifies else AutoModel
    try:
        with quiet():
            # written out, attention becomes fewer and faster operations than PyTorch's own kernel does in ONNX
            encoder = loader.from_pretrained(
                str(parts.encoder), local_files_only=True, use_safetensors=safe, trust_remote_code=False,
                attn_implementation="eager", dtype=torch.float32,
            )  # fmt: skip
            head = [_dense(place, trust=trust) for place in parts.dense]
    except Exception as error:  # transformers raises whatever its files make it raise
        words = " ".join(str(error).split())[:160] or type(error).__name__
        raise SourceError(f"transformers cannot load {parts.encoder} ({words})", "download the model again") from error
    network = TextNetwork(encoder, parts.pooling, head, parts.normalize)
    network.eval()
    return network


def save_dense(layer: nn.Linear, folder: Path) -> None:
    """A linear layer as sentence-transformers' Dense module, which `load_network` and that package read."""
    import json

    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = {"in_features": layer.in_features, "out_features": layer.out_features, "bias": True,
              "activation_function": "torch.nn.modules.linear.Identity"}  # fmt: skip
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    tensors = {f"linear.{name}": value.detach().contiguous() for name, value in layer.state_dict().items()}
    save_file(tensors, str(folder / WEIGHTS))


def _dense(folder: Path, *, trust: bool) -> nn.Module:
    from safetensors.torch import load_file

    config = _json(folder / CONFIG)
    if not check_weights(folder, trust=trust):
        raise SourceError(f"the weights of {folder} are not in {WEIGHTS}", "save the model again")
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh")).rsplit(".", 1)[-1]
    if activation not in _ACTIVATIONS:
        raise SourceError(f"{folder} has activation {activation!r:.40}", f"known are {', '.join(_ACTIVATIONS)}")
    tensors = {name.removeprefix("linear."): value for name, value in load_file(str(folder / WEIGHTS)).items()}
    layer = nn.Linear(config["in_features"], config["out_features"], bias="bias" in tensors)
    layer.load_state_dict(tensors)
    return nn.Sequential(layer, _ACTIVATIONS[activation]())
