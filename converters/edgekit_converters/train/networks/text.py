"""Text classifiers on an encoder of the transformers library, from a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from edgekit_converters.sources.huggingface_network import TextNetwork

_NOT_SHAPE = (
    "_",
    "transformers_version",
    "architectures",
    "dtype",
    "id2label",
    "label2id",
    "num_labels",
    "problem_type",
)


class Texts(TextNetwork):
    """Tokens, each (batch, length), to (batch, classes) scores before softmax.

    Args:
        configuration: As the library's ``config.json``, with ``model_type``.
        pooling: ``mean`` or ``cls``.
        classes: How many.
        length: Most tokens that it was trained with, for whoever makes up inputs.
    """

    def __init__(self, configuration: Mapping[str, Any], pooling: str, classes: int, length: int) -> None:
        from transformers import AutoConfig, AutoModel

        settings = dict(configuration)
        config = AutoConfig.for_model(settings.pop("model_type"), **settings)
        encoder = AutoModel.from_config(config, attn_implementation="eager")
        super().__init__(encoder, pooling, [nn.Linear(config.hidden_size, classes)])
        self.length = length

    @property
    def backbone(self) -> Any:
        """Everything but the head."""
        return self.encoder


def described(network: TextNetwork, length: int) -> dict[str, Any]:
    """What ``network.json`` says of a trained network: `Texts` by its arguments."""
    config = network.encoder.config
    shape = {k: v for k, v in config.to_diff_dict().items() if not k.startswith(_NOT_SHAPE)}
    options = {"configuration": {**shape, "model_type": config.model_type}, "pooling": network.pooling,
               "classes": network.head[-1].out_features, "length": length}  # fmt: skip
    return {"network": "text", "options": options}
