"""Text encoders and classifiers of transformers and sentence-transformers, with their tokenizer."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit_converters.errors import ConversionError, MissingRequirement, SourceError, UsageError
from edgekit_converters.files import sha256_of, versions
from edgekit_converters.limits import TargetLimits
from edgekit_converters.recipe import Converted, Feeds
from edgekit_converters.source import Conversion, Source, SourceKind, SourceRequest
from edgekit_converters.sources.huggingface_folder import (
    CONFIG,
    MODULES,
    Parts,
    find_folder,
    is_folder,
    is_hub_name,
    read_parts,
)
from edgekit_converters.sources.huggingface_tokenizer import VOCABULARY, ReadTokenizer, read_tokenizer
from edgekit_converters.sources.onnx import converted_onnx, fit_limits
from edgekit_converters.sources.torch import TorchSource, write_onnx
from edgekit_converters.sources.torch import to_tflite as torch_to_tflite
from edgekit_converters.sources.torch_factory import first_words
from edgekit_runtime.errors import SpecificationError
from edgekit_runtime.manifest import SpecificationData, TensorInfo
from edgekit_runtime.specification import Specification
from edgekit_runtime.specification.step import Context

_EXAMPLE = ("turn the light in the kitchen off", "what is the weather like?")
_TEXTS = (*_EXAMPLE, "a", "no", "it does not work at all!", "1 2 3", "")
_LONGEST = 512


class TextSource(TorchSource):
    """A text model: token numbers in, scores or vectors out, and the step that makes the numbers of a text.

    Args:
        folder: Its folder.
        network: The network.
        parts: What the folder says.
        tokenizer: What its tokenizer is.
        length: Number of tokens that every text is brought to; 0 leaves it free.

    Attributes:
        length: As above.
        parts: As above.
    """

    framework = "huggingface"

    def __init__(self, folder: Path, network: Any, parts: Parts, tokenizer: ReadTokenizer, length: int = 0) -> None:
        import torch

        most = longest(parts, tokenizer)
        if length > most:
            raise UsageError(f"--input-shape asks for {length} tokens, the model takes up to {most}", "ask for fewer")
        self.length, self.parts = length, parts
        step = tokenizer.step(length or most, network.tensors, length)
        self.files = {VOCABULARY: tokenizer.vocabulary}
        specification = Specification.from_data(SpecificationData("text", (step,)), self.files)
        self.specification = specification.to_data()
        self._prepare = specification.preprocess
        examples = tuple(torch.from_numpy(v) for v in self._feed(_EXAMPLE[0]).values())
        super().__init__(folder.name, encoder_hash(folder, parts), network, examples, True, network.tensors)
        self.tools = versions("torch", "transformers")
        self.inputs = tuple(TensorInfo(i.name, (-1, length or -1), i.dtype) for i in self.inputs)
        (output,) = self.outputs
        hidden = len(output.shape) == 3
        name = "last_hidden_state" if hidden else "logits" if _scores(parts) else "sentence_embedding"
        shape = (-1, length or -1, output.shape[2]) if hidden else output.shape
        self.outputs = (TensorInfo(name, shape, output.dtype),)
        self.task = ("regression" if shape[-1] == 1 else "classification") if name == "logits" else "none"
        self.labels = parts.labels if len(parts.labels) == shape[-1] else ()

    def run(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """Reference outputs."""
        (value,) = super().run(feeds).values()
        return {self.outputs[0].name: value}

    def invented(self, count: int) -> list[Feeds]:
        """Tokens of a few texts: numbers at random would be no text, and texts without a token none at all."""
        return [self._feed(_TEXTS[i % len(_TEXTS)]) for i in range(count)]

    def refuses(self, format: str) -> str:
        """TFLite needs a length."""
        if format == "tflite" and not self.length:
            return "TFLite takes texts of one fixed length: give --input-shape 1,64 for 64 tokens"
        return ""

    def _feed(self, text: str) -> dict[str, np.ndarray]:
        return {name: value[None] for name, value in dict(self._prepare(text, Context())).items()}


def longest(parts: Parts, tokenizer: ReadTokenizer) -> int:
    """Most tokens that a model takes, by everything that says so."""
    known = (parts.config.get("max_position_embeddings"), parts.limit, tokenizer.limit)
    return min([int(n) for n in known if n], default=_LONGEST)


def tokenizer_of(folder: Path, parts: Parts) -> ReadTokenizer:
    """The tokenizer of a model's folder, which may lie with the encoder.

    Raises:
        SourceError: There is none, one that devices cannot do, or another model's.
    """
    tokenizer = read_tokenizer(folder if _has_tokenizer(folder) else parts.encoder)
    rows = int(parts.config.get("vocab_size", 0))
    if rows and tokenizer.vocabulary.count(b"\n") > rows:
        raise SourceError(f"the tokenizer in {folder} knows more pieces than the model has vectors for ({rows})",
                          "it belongs to another model")  # fmt: skip
    return tokenizer


class HuggingFaceKind(SourceKind):
    """A folder with ``config.json`` and ``model.safetensors``, or a hub name that is in the cache."""

    name = "huggingface"
    extra = "train"

    def claims(self, request: SourceRequest) -> bool:
        """By the folder's files; ``owner/name`` that is no file here."""
        return ":" not in request.model and (is_folder(request.model) or is_hub_name(request.model))

    def load(self, request: SourceRequest) -> Source:
        """Load it, offline."""
        for package, extra in (("torch", "torch"), ("transformers", "train")):
            if importlib.util.find_spec(package) is None:
                raise MissingRequirement(f"{package} is not installed", f'pip install "edgekit[{extra}]"')
        from edgekit_converters.sources.huggingface_network import load_network

        folder = find_folder(request.model)
        if not folder.is_dir():
            raise SourceError(f"there is no folder {folder}")
        length = _length(request.shapes)
        parts = read_parts(folder)
        tokenizer = tokenizer_of(folder, parts)
        network = load_network(parts, trust=request.trust)
        try:
            return TextSource(folder, network, parts, tokenizer, length)
        except SpecificationError as error:
            raise SourceError(f"the tokenizer in {folder} cannot be used: {error.message}", error.hint) from error

    def conversions(self) -> Mapping[str, Conversion]:
        """ONNX with free batch and length; TFLite of one length."""
        return {"onnx": to_onnx, "tflite": to_tflite}


def _scores(parts: Parts) -> bool:
    return parts.classifies or bool(parts.dense and not parts.normalize)


def _has_tokenizer(folder: Path) -> bool:
    return (folder / "tokenizer.json").is_file() or (folder / VOCABULARY).is_file()


def _length(shapes: Mapping[str, Sequence[int]]) -> int:
    """Tokens that ``--input-shape BATCH,TOKENS`` asks for; 0 where it does not."""
    if not shapes:
        return 0
    shape = tuple(next(iter(shapes.values())))
    if len(shape) != 2 or shape[1] < 2:
        raise UsageError(f"--input-shape {shape} is not BATCH,TOKENS", "give 1,64 for texts of 64 tokens")
    return shape[1]


def encoder_hash(folder: Path, parts: Parts) -> str:
    """Over what is loaded; folders hold README files and other frameworks' weights besides."""
    names = (CONFIG, "model*.safetensors", "pytorch_model.bin", "tokenizer.json", "tokenizer_config.json", VOCABULARY)
    found = [file for name in names for file in sorted(parts.encoder.glob(name))]
    found += [file for place in parts.dense for file in sorted(place.glob("*")) if file.is_file()]
    return sha256_of(*found, *([folder / MODULES] if (folder / MODULES).is_file() else []))


def to_onnx(source: Source, folder: Path, limits: TargetLimits) -> Converted:
    """By torch.onnx.export with dynamo: batch and length stay free, the latter unless it was fixed."""
    import torch

    from edgekit_converters.sources.huggingface_attention import written_attention

    assert isinstance(source, TextSource)  # noqa: S101 - this row of the table makes them
    if limits.static_shapes and not source.length:
        raise ConversionError("the target takes texts of one fixed length only", "give --input-shape 1,64")
    target = folder / "onnx-float.onnx"
    axes: dict[int, Any] = {} if limits.static_shapes else {0: torch.export.Dim("batch", min=1)}
    if not source.length:
        axes[1] = torch.export.Dim("length", min=2)
    examples = source.examples if limits.static_shapes else tuple(torch.cat([e, e]) for e in source.examples)
    shapes = (tuple(axes for _ in examples),) if axes else None  # one entry: the network takes them as *tensors
    try:
        with written_attention(source.module):
            write_onnx(source, target, limits, examples, shapes)
    except Exception as error:  # torch.onnx raises whatever its decompositions raise
        raise ConversionError(
            f"torch.onnx.export failed ({first_words(error)})", "see --debug for its report"
        ) from error
    fit_limits(target, limits)
    return converted_onnx(target, source)


def to_tflite(source: Source, folder: Path, limits: TargetLimits) -> Converted:
    """By litert-torch, with texts of one length.

    Raises:
        ConversionError: No length was given, or litert-torch failed.
    """
    assert isinstance(source, TextSource)  # noqa: S101 - as above
    if why := source.refuses("tflite"):
        raise ConversionError(why, "take --format onnx, which leaves the length free")
    return torch_to_tflite(source, folder, limits)


KIND = HuggingFaceKind()
