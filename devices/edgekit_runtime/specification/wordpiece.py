"""Texts to the numbers that BERT-class models take: words to pieces by a vocabulary (WordPiece)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Optional

import numpy as np

from edgekit_runtime.errors import SpecificationError
from edgekit_runtime.specification.step import Context, Step
from edgekit_runtime.specification.words import Words

TENSORS = ("input_ids", "attention_mask", "token_type_ids")
MAX_TOKENS = 65_536

_KEPT = 20_000  # words whose pieces are remembered


@dataclass(frozen=True)
class WordPiece(Step):
    """A text to whole numbers: pieces of its words by a vocabulary, with a first and a last token around them.

    Takes a string, as step ``text`` gives it; gives int64 arrays of one axis by tensor name. Every setting but the
    lengths and the tensors must be as the model was trained.

    Attributes:
        vocabulary: File beside the specification with one piece a line; a piece's number is its line, from 0.
        lowercase: Whether capitals become small letters.
        strip_accents: Whether accents are removed.
        split_cjk: Whether each Chinese character is a word.
        clean: Whether control characters are removed.
        max_length: Most tokens, first and last included; longer texts are cut at their end.
        pad_to: Number of tokens that shorter texts are filled up to; 0 leaves them as long as they are.
        prefix: Before pieces that do not begin a word.
        max_word: Words of more characters are unknown.
        unknown: Piece for words that cannot be said.
        first: Piece before every text.
        last: Piece after every text.
        padding: Piece that fills up.
        special: Pieces that are found in a text as they are written, before anything else is done to it.
        tensors: The model's inputs, of ``input_ids``, ``attention_mask`` and ``token_type_ids``.
    """

    name = "wordpiece"
    file_settings = ("vocabulary",)
    vocabulary: str = "vocab.txt"
    lowercase: bool = True
    strip_accents: bool = True
    split_cjk: bool = True
    clean: bool = True
    max_length: int = 512
    pad_to: int = 0
    prefix: str = "##"
    max_word: int = 100
    unknown: str = "[UNK]"
    first: str = "[CLS]"
    last: str = "[SEP]"
    padding: str = "[PAD]"
    special: tuple[str, ...] = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    tensors: tuple[str, ...] = TENSORS
    _ids: ClassVar[Mapping[str, int]] = {}  # of the vocabulary, once it is open
    _longest: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if not 2 <= self.max_length <= MAX_TOKENS or not (self.pad_to == 0 or 2 <= self.pad_to <= MAX_TOKENS):
            raise ValueError(f"max_length and pad_to must be 2 to {MAX_TOKENS}, or pad_to 0")
        if self.pad_to and self.max_length > self.pad_to:
            raise ValueError("max_length must not be above pad_to")
        if not 0 < self.max_word <= 1000:
            raise ValueError("max_word must be 1 to 1000")
        if not self.tensors or set(self.tensors) - set(TENSORS) or len(set(self.tensors)) != len(self.tensors):
            raise ValueError(f"tensors must be some of {', '.join(TENSORS)}")
        if len(self.special) > 1000 or "" in self.special:
            raise ValueError("special must be up to 1000 pieces, none of them empty")

    def open(self, files: Mapping[str, bytes]) -> None:
        """Take the vocabulary."""
        try:
            lines = files[self.vocabulary].decode("utf-8").split("\n")
        except UnicodeDecodeError as error:
            raise SpecificationError(f"the vocabulary {self.vocabulary} is not UTF-8 text ({error})") from error
        ids = {piece: number for number, piece in enumerate(lines[:-1] if not lines[-1] else lines)}
        needed = [self.unknown, self.first, self.last, *([self.padding] if self.pad_to else []), *self.special]
        if absent := [piece for piece in needed if piece not in ids]:
            raise SpecificationError(f"the vocabulary {self.vocabulary} has no piece {absent[0]!r:.60}")
        object.__setattr__(self, "_ids", ids)
        object.__setattr__(self, "_longest", max(map(len, ids)))

    def __call__(self, value: Any, context: Context) -> dict[str, np.ndarray]:
        text = value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value
        if not isinstance(text, str):
            raise SpecificationError(f"step wordpiece takes a text, not {type(text).__name__}")
        ids = self._ids
        numbers = [ids[self.first], *self._numbers(text)[: self.max_length - 2], ids[self.last]]
        length = max(len(numbers), self.pad_to)
        found = {name: np.zeros(length, np.int64) for name in self.tensors}
        if "attention_mask" in found:
            found["attention_mask"][: len(numbers)] = 1
        if "input_ids" in found:
            if self.pad_to:
                found["input_ids"][:] = ids[self.padding]
            found["input_ids"][: len(numbers)] = numbers
        return found

    @cached_property
    def _words(self) -> Words:
        return Words(
            lowercase=self.lowercase, strip_accents=self.strip_accents, split_cjk=self.split_cjk, clean=self.clean
        )

    @cached_property
    def _special(self) -> Optional[re.Pattern[str]]:
        """The special pieces, the longest first, where several begin at one place."""
        longest_first = sorted(self.special, key=len, reverse=True)
        return re.compile("(" + "|".join(map(re.escape, longest_first)) + ")") if longest_first else None

    @cached_property
    def _known(self) -> dict[str, tuple[int, ...]]:
        """Words that were met, and their pieces."""
        return {}

    def _numbers(self, text: str) -> list[int]:
        """Pieces of a text without the first and the last; may be some more than `max_length`."""
        numbers: list[int] = []
        parts = self._special.split(text) if self._special else [text]
        for place, part in enumerate(parts):
            if place % 2:
                numbers.append(self._ids[part])
                continue
            for word in self._words(part):
                if len(numbers) >= self.max_length:
                    return numbers
                numbers.extend(self._pieces(word))
        return numbers

    def _pieces(self, word: str) -> tuple[int, ...]:
        """The longest piece that begins the word, then the longest that goes on, …; unknown where there is none."""
        found = self._known.get(word)
        if found is None:
            found = self._cut(word)
            if len(self._known) < _KEPT:
                self._known[word] = found
        return found

    def _cut(self, word: str) -> tuple[int, ...]:
        ids, numbers, start, prefix = self._ids, [], 0, ""
        unknown = (ids[self.unknown],)
        if len(word) > self.max_word:
            return unknown
        while start < len(word):
            for end in range(min(len(word), start + self._longest), start, -1):
                number = ids.get(prefix + word[start:end])
                if number is not None:
                    break
            else:
                return unknown
            numbers.append(number)
            start, prefix = end, self.prefix
        return tuple(numbers)
