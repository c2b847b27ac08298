"""Hugging Face tokenizers to the device's WordPiece step, or a refusal that says what the tokenizer is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit_converters.errors import SourceError

VOCABULARY = "vocab.txt"

_ONLY = "only BERT's WordPiece runs on devices: take an encoder of that family, as all-MiniLM-L6-v2"
_FREE = 100_000  # transformers writes 1e30 for a tokenizer without a limit
_ELSEWHERE = {"spiece.model": "SentencePiece", "sentencepiece.bpe.model": "SentencePiece", "merges.txt": "BPE",
              "tokenizer.model": "SentencePiece"}  # fmt: skip
_FLAGS = {"clean_text": "clean", "handle_chinese_chars": "split_cjk", "strip_accents": "strip_accents",
          "lowercase": "lowercase"}  # fmt: skip


@dataclass(frozen=True)
class ReadTokenizer:
    """What a folder's tokenizer is on the device.

    Attributes:
        settings: Of step ``wordpiece``, but for its lengths and tensors.
        vocabulary: Content of the file that the step names, one piece a line.
        limit: Most tokens that the tokenizer says the model takes; None where it does not say.
    """

    settings: Mapping[str, Any]
    vocabulary: bytes
    limit: int | None

    def step(self, most: int, tensors: Sequence[str], pad_to: int = 0) -> dict[str, Any]:
        """Step ``wordpiece`` as plain data.

        Args:
            most: Most tokens of a text.
            tensors: Which inputs the model has.
            pad_to: Tokens that every text is brought to; 0 leaves texts as long as they are.
        """
        return {
            "step": "wordpiece", "vocabulary": VOCABULARY, **self.settings,
            "max_length": most, "pad_to": pad_to, "tensors": list(tensors),
        }  # fmt: skip


def read_tokenizer(folder: Path) -> ReadTokenizer:
    """Read ``tokenizer.json``, or ``vocab.txt`` with ``tokenizer_config.json`` where there is none.

    Raises:
        SourceError: There is no tokenizer, or it is one that step ``wordpiece`` cannot do exactly; says which.
    """
    config = _json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    limit = config.get("model_max_length")
    limit = int(limit) if isinstance(limit, (int, float)) and limit < _FREE else None
    if config.get("truncation_side", "right") != "right":
        raise SourceError(f"the tokenizer in {folder} cuts texts at their beginning", "devices cut them at their end")
    if (folder / "tokenizer.json").is_file():
        settings, pieces = _from_json(_json(folder / "tokenizer.json"), folder)
    elif (folder / VOCABULARY).is_file():
        settings, pieces = _from_vocabulary(folder, config)
    else:
        kind = next((kind for name, kind in _ELSEWHERE.items() if (folder / name).is_file()), None)
        if kind:
            raise SourceError(f"the tokenizer in {folder} is {kind}", _ONLY)
        raise SourceError(f"there is no tokenizer in {folder}", f"put its tokenizer.json or {VOCABULARY} there")
    if broken := [p for p in pieces if "\n" in p]:
        raise SourceError(f"a piece of the vocabulary holds a line break ({broken[0]!r:.40})", _ONLY)
    return ReadTokenizer(settings, "".join(f"{p}\n" for p in pieces).encode(), limit)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
        if not isinstance(found, dict):
            raise TypeError("it is not an object")
    except (OSError, ValueError, TypeError) as error:
        raise SourceError(f"cannot read {path} ({error})", "download the model again") from error
    return found


def _from_json(data: dict[str, Any], folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Settings and pieces of a ``tokenizer.json``."""
    model = data.get("model") or {}
    kind = str(model.get("type"))
    if kind != "WordPiece":
        name = {"Unigram": "SentencePiece (Unigram)"}.get(kind, kind)
        raise SourceError(f"the tokenizer in {folder} is {name}", _ONLY)
    for part, wanted in (("normalizer", "BertNormalizer"), ("pre_tokenizer", "BertPreTokenizer")):
        have = str((data.get(part) or {}).get("type"))
        if have != wanted:
            raise SourceError(f"the tokenizer in {folder} has {have} where BERT's has {wanted}", _ONLY)
    flags = {_FLAGS[name]: data["normalizer"].get(name) for name in _FLAGS}
    if flags["strip_accents"] is None:
        flags["strip_accents"] = flags["lowercase"]
    first, last = _around(data.get("post_processor") or {}, folder)
    vocabulary = dict(model["vocab"])
    special = []
    for token in data.get("added_tokens") or []:
        if any(token.get(name) for name in ("normalized", "single_word", "lstrip", "rstrip")):
            raise SourceError(f"the tokenizer in {folder} finds {token['content']!r} by rules of its own", _ONLY)
        vocabulary[token["content"]] = token["id"]
        special.append(token["content"])
    pieces = sorted(vocabulary, key=lambda piece: int(vocabulary[piece]))
    if [vocabulary[p] for p in pieces] != list(range(len(pieces))):
        raise SourceError(f"the tokenizer in {folder} leaves out numbers in its vocabulary", _ONLY)
    padding = (data.get("padding") or {}).get("pad_token") or ("[PAD]" if "[PAD]" in vocabulary else pieces[0])
    settings = {
        **flags,
        "prefix": model["continuing_subword_prefix"],
        "max_word": model["max_input_chars_per_word"],
        "unknown": model["unk_token"],
        "first": first,
        "last": last,
        "padding": padding,
        "special": special,
    }
    return settings, pieces


def _around(processor: dict[str, Any], folder: Path) -> tuple[str, str]:
    """The tokens before and after a text."""
    kind = processor.get("type")
    if kind == "BertProcessing":
        return str(processor["cls"][0]), str(processor["sep"][0])
    single = processor.get("single") or []
    names = [str((part.get("SpecialToken") or part.get("Sequence") or {}).get("id")) for part in single]
    kinds = [next(iter(part)) for part in single]
    types = [next(iter(part.values())).get("type_id") for part in single]
    if kinds != ["SpecialToken", "Sequence", "SpecialToken"] or any(types):
        raise SourceError(f"the tokenizer in {folder} does not put one token before and one after a text", _ONLY)
    return names[0], names[2]


def _from_vocabulary(folder: Path, config: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Settings of transformers' `BertTokenizer`, whose files are a vocabulary and what differs from its defaults."""
    kind = str(config.get("tokenizer_class", "BertTokenizer")).removesuffix("Fast")
    if kind not in ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "MobileBertTokenizer"):
        raise SourceError(f"the tokenizer in {folder} is a {kind}", _ONLY)
    if config.get("do_basic_tokenize") is False or config.get("never_split"):
        raise SourceError(f"the tokenizer in {folder} leaves out BERT's own splitting into words", _ONLY)
    try:
        lines = (folder / VOCABULARY).read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot read {folder / VOCABULARY} ({error})", "download the model again") from error
    pieces = lines[:-1] if not lines[-1] else lines
    lowercase = bool(config.get("do_lower_case", True))
    accents = config.get("strip_accents")
    names = {"unknown": ("unk_token", "[UNK]"), "first": ("cls_token", "[CLS]"), "last": ("sep_token", "[SEP]"),
             "padding": ("pad_token", "[PAD]"), "mask": ("mask_token", "[MASK]")}  # fmt: skip
    tokens = {name: _content(config.get(key, default)) for name, (key, default) in names.items()}
    special = [token for token in dict.fromkeys(tokens.values()) if token in pieces]
    tokens.pop("mask")
    return {
        "lowercase": lowercase,
        "strip_accents": lowercase if accents is None else bool(accents),
        "split_cjk": bool(config.get("tokenize_chinese_chars", True)),
        "special": special,
        **tokens,
    }, pieces


def _content(token: Any) -> str:
    return str(token["content"] if isinstance(token, dict) else token)
